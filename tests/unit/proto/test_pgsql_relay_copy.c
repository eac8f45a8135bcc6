/* COPY through both halves, in both directions, cut at every byte. */
#include <stdio.h>
#include <string.h>

#include "../test.h"
#include "conversation.h"
#include "pgsql_check.h"

static void copy_in_reaches_the_server(void **state)
{
	struct script s = {0};

	say_query(say(&s, 0), "COPY IN");
	struct buf *b = say(&s, 0);
	say_text(b, 'd', "some data\n");
	say_text(b, 'd', "more of it\n");
	say_empty(b, 'c');
	say_query(say(&s, 0), "SELECT 1");
	/* All of it at once. */
	b = say(&s, 0);
	say_query(b, "COPY IN");
	say_text(b, 'd', "data");
	say_text(b, 'f', "enough");
	say_query(b, "SELECT 2");
	pgsql_check(&s, EXPECT("G C(COPY 0) Z(I) T D(SELECT 1) C(SELECT 1) Z(I) "
			       "G E(57014) Z(I) T D(SELECT 2) C(SELECT 1) Z(I)"));
}

static void copy_in_by_extended_messages(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	/* libpq sends a Sync behind the Execute; the server ignores it in the copy mode. */
	say_parse(b, "", "COPY IN");
	say_bind(b, "", NULL);
	say_execute(b);
	say_empty(b, 'S');
	b = say(&s, 0);
	say_text(b, 'd', "data");
	say_empty(b, 'c');
	say_empty(b, 'S');
	say_query(say(&s, 0), "SELECT 1");
	pgsql_check(&s, EXPECT("1 2 G C(COPY 0) Z(I) T D(SELECT 1) C(SELECT 1) Z(I)"));
}

static void copy_in_may_fail_on_the_server(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_query(b, "COPY IN");
	b = say(&s, 0);
	say_text(b, 'd', "data");
	say_text(b, 'd', "oops");
	b = say(&s, 0);
	say_text(b, 'd', "late");
	say_empty(b, 'c');
	say_query(b, "SELECT 1");
	b = say(&s, 0);
	say_parse(b, "", "COPY IN");
	say_bind(b, "", NULL);
	say_execute(b);
	say_empty(b, 'H');
	b = say(&s, 0);
	say_text(b, 'd', "oops");
	b = say(&s, 0);
	say_text(b, 'd', "late");
	say_empty(b, 'c');
	say_empty(b, 'S');
	say_query(b, "SELECT 2");
	pgsql_check(&s, EXPECT("G E(57014) Z(I) T D(SELECT 1) C(SELECT 1) Z(I) "
			       "1 2 G E(57014) Z(I) T D(SELECT 2) C(SELECT 1) Z(I)"));
}

static void copy_out_reaches_the_client(void **state)
{
	struct script s = {0};
	struct buf *b = say(&s, 0);

	say_query(b, "COPY OUT");
	say_parse(b, "", "COPY OUT");
	say_bind(b, "", NULL);
	say_execute(b);
	say_empty(b, 'S');
	pgsql_check(&s, EXPECT("H d d c C(COPY 2) Z(I) 1 2 H d d c C(COPY 2) Z(I)"));
}

static void copy_data_behind_an_error_is_dropped(void **state)
{
	struct script s = {0};

	say_query(say(&s, 0), "bad");
	struct buf *b = say(&s, 0);
	say_text(b, 'd', "late");
	say_empty(b, 'c');
	say_query(b, "SELECT 1");
	pgsql_check(&s, EXPECT("E(42601) Z(I) T D(SELECT 1) C(SELECT 1) Z(I)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(copy_in_reaches_the_server),
		cmocka_unit_test(copy_in_by_extended_messages),
		cmocka_unit_test(copy_in_may_fail_on_the_server),
		cmocka_unit_test(copy_out_reaches_the_client),
		cmocka_unit_test(copy_data_behind_an_error_is_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
