#include "proto/reason.h"

#include <stdio.h>

#include "util/check.h"
#include "util/text.h"

static const struct reason_row rows[N_REASONS] = {
#define REASON(id, name_, is_error_, sqlstate_, mysql_code_, mysql_sqlstate_, text_)               \
	[REASON_##id] = {.name = name_,                                                            \
		.is_error = is_error_,                                                             \
		.sqlstate = sqlstate_,                                                             \
		.mysql_code = mysql_code_,                                                         \
		.mysql_sqlstate = mysql_sqlstate_,                                                 \
		.text = text_},
#include "proto/reasons.def"
#undef REASON
};

const struct reason_row *reason_row(enum reason reason)
{
	CHECK((unsigned)reason < N_REASONS);
	return &rows[reason];
}

void refusal_set(struct refusal *ret_refusal, enum reason reason, const char *detail)
{
	const struct reason_row *row = reason_row(reason);

	ret_refusal->reason = reason;
	text_copy(ret_refusal->sqlstate, sizeof(ret_refusal->sqlstate), row->sqlstate);
	ret_refusal->mysql_code = row->mysql_code;
	text_copy(ret_refusal->mysql_sqlstate, sizeof(ret_refusal->mysql_sqlstate),
		row->mysql_sqlstate);
	snprintf(ret_refusal->text, sizeof(ret_refusal->text), "%s%s%s", row->text,
		detail && detail[0] ? ": " : "", detail ? detail : "");
}
