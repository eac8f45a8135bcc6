/*
 * Reading weir.ini and auth_file. inih splits the lines into sections and keys; lines are read
 * here, because inih would cut long ones, and values are kept here, because it would take " ;" in
 * them for a comment at any length it cares to read.
 */
#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/internal.h"
#include "util/text.h"

#define LINE_MAX_BYTES 4096
#define PLACEHOLDER    "value"
#define SECTION_MAX    60
#define KEY_MAX        45
#define KEY_LETTERS    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."

enum section {
	SECTION_NONE,
	SECTION_WEIR,
	SECTION_DEFAULTS,
	SECTION_DATABASE,
	SECTION_USER,
	SECTION_BAD
};

/* What has been set where, to find what is set twice. */
#define SEEN_MAX 128

struct reading {
	FILE *file;
	const char *path;
	int line;
	char value[LINE_MAX_BYTES]; /* of the line that inih is looking at */
	struct config *config;
	struct buf *problems;
	int error; /* -errno, once memory has run out */
	int n_problems;
	enum section section;
	bool weir_begun, defaults_begun;
	const struct option_row *seen[SEEN_MAX];
	size_t n_seen;
	bool url_given;
};

static void problem_at(struct reading *r, int line, const char *text)
{
	buf_printf(r->problems, "%s:%d: %s\n", r->path, line, text);
	r->n_problems++;
}

/* --- lines --- */

static char *skip_blank(char *text)
{
	while (*text == ' ' || *text == '\t')
		text++;
	return text;
}

static void trim_end(char *text)
{
	size_t len = strlen(text);

	while (len && strchr(" \t\r\n", text[len - 1]))
		text[--len] = 0;
}

/* A comment begins with ; or # at the start of a line, or behind a blank. */
static void cut_comment(char *value)
{
	for (char *at = value; *at; at++) {
		if (*at == ';' && (at == value || at[-1] == ' ' || at[-1] == '\t')) {
			*at = 0;
			break;
		}
	}
	trim_end(value);
}

/* Reads one line, whole. False at the end of the file. */
static bool read_line(struct reading *r, char *ret_line)
{
	size_t len = 0;
	bool too_long = false, any = false;
	int c;

	while ((c = getc(r->file)) != EOF && c != '\n') {
		any = true;
		if (len < LINE_MAX_BYTES - 1)
			ret_line[len++] = c ? (char)c : ' ';
		else
			too_long = true;
	}
	ret_line[len] = 0;
	if (!any && c == EOF)
		return false;
	r->line++;
	/* Some editors begin a file with a byte order mark. */
	if (r->line == 1 && text_starts_with(ret_line, "\xef\xbb\xbf"))
		memmove(ret_line, ret_line + 3, len - 2);
	if (too_long) {
		problem_at(r, r->line, "the line is too long: allowed are 4095 characters");
		ret_line[0] = 0;
	}
	return true;
}

/* --- sections --- */

static bool grow(struct reading *r, void **array, size_t n, size_t size)
{
	void *more = realloc(*array, (n + 1) * size);

	if (!more) {
		r->error = -ENOMEM;
		return false;
	}
	*array = more;
	memset((char *)more + n * size, 0, size);
	return true;
}

static void begin_database(struct reading *r, const char *name)
{
	struct config *config = r->config;
	void *array = config->databases;

	if (config_database(config, name)) {
		problem_at(r, r->line, "this database has a section already");
		r->section = SECTION_BAD;
		return;
	}
	if (!grow(r, &array, config->n_databases, sizeof(*config->databases))) {
		r->section = SECTION_BAD;
		return;
	}
	config->databases = array;
	struct config_database *database = &config->databases[config->n_databases];
	database->name = strdup(name);
	if (!database->name) {
		r->error = -ENOMEM;
		r->section = SECTION_BAD;
		return;
	}
	database->file = config->path;
	database->line = r->line;
	database->pool = config->defaults;
	config->n_databases++;
	r->url_given = false;
}

static void begin_user(struct reading *r, const char *name)
{
	if (config_user_for_change(r->config, name)) {
		problem_at(r, r->line, "this user has a section already");
		r->section = SECTION_BAD;
		return;
	}
	int error = config_add_user(r->config, name, NULL, r->config->path, r->line);
	if (error < 0) {
		r->error = error;
		r->section = SECTION_BAD;
	}
}

/* [weir] and [defaults] stand once. */
static void begin_single(struct reading *r, enum section section, bool *begun)
{
	r->section = section;
	if (*begun) {
		problem_at(r, r->line, "this section stands here twice");
		r->section = SECTION_BAD;
	}
	*begun = true;
	/* Databases inherit what stands above them only: so nothing may stand above it. */
	if (section == SECTION_DEFAULTS && r->config->n_databases)
		problem_at(r, r->line, "[defaults] must come before the first [database ...]");
}

/* The NAME of "KEYWORD NAME"; NULL if it is not of that form. */
static const char *name_behind(char *text, const char *keyword)
{
	size_t len = strlen(keyword);

	if (!text_starts_with(text, keyword) || (text[len] != ' ' && text[len] != '\t'))
		return NULL;
	const char *name = skip_blank(text + len);
	return *name ? name : NULL;
}

static void begin_section(struct reading *r, char *text)
{
	const char *database = name_behind(text, "database"), *user = name_behind(text, "user");

	r->n_seen = 0;
	if (strcmp(text, "weir") == 0) {
		begin_single(r, SECTION_WEIR, &r->weir_begun);
	} else if (strcmp(text, "defaults") == 0) {
		begin_single(r, SECTION_DEFAULTS, &r->defaults_begun);
	} else if (database) {
		r->section = SECTION_DATABASE;
		begin_database(r, database);
	} else if (user) {
		r->section = SECTION_USER;
		begin_user(r, user);
	} else {
		r->section = SECTION_BAD;
		problem_at(r, r->line,
			"unknown section: allowed are [weir], [defaults], [database NAME], [user "
			"NAME]");
	}
}

/* A line that begins with a bracket. */
static void take_section_line(struct reading *r, char *at)
{
	cut_comment(at);
	size_t len = strlen(at);
	if (at[len - 1] != ']' || strcspn(at, "]") != len - 1 || len > SECTION_MAX) {
		problem_at(r, r->line,
			"a section is written [weir], [defaults], [database NAME] or [user NAME], "
			"and its name has at most 48 characters");
		r->section = SECTION_BAD;
		return;
	}
	at[len - 1] = 0;
	trim_end(at);
	begin_section(r, skip_blank(at + 1));
}

/* --- keys --- */

static bool seen_before(struct reading *r, const struct option_row *row)
{
	for (size_t i = 0; i < r->n_seen; i++) {
		if (r->seen[i] == row)
			return true;
	}
	CHECK(r->n_seen < SEEN_MAX);
	r->seen[r->n_seen++] = row;
	return false;
}

static void list_names(struct buf *b, enum option_section section)
{
	for (size_t i = 0; i < n_options; i++) {
		bool here = options[i].section == section ||
			    (section == OPTION_USER && options[i].per_user);
		if (here)
			buf_printf(b, " %s", options[i].name);
	}
}

static enum option_section options_of(enum section section)
{
	switch (section) {
	case SECTION_WEIR:
		return OPTION_WEIR;
	case SECTION_USER:
		return OPTION_USER;
	default:
		return OPTION_POOL;
	}
}

static void unknown_key(struct reading *r, const char *key)
{
	struct buf text = {0};

	if (r->section == SECTION_BAD)
		return;
	if (r->section == SECTION_NONE) {
		problem_at(r, r->line, "a key before the first section");
		return;
	}
	buf_printf(&text, "unknown key \"%s\": allowed are", key);
	if (r->section == SECTION_DATABASE)
		buf_text(&text, " url");
	list_names(&text, options_of(r->section));
	buf_u8(&text, 0);
	problem_at(r, r->line, text.failed ? "unknown key" : (char *)text.data);
	buf_clear(&text);
}

static void set_url(struct reading *r)
{
	struct config_database *database = &r->config->databases[r->config->n_databases - 1];
	struct buf text = {0};

	if (r->url_given)
		problem_at(r, r->line, "url stands here twice");
	r->url_given = true;
	database->url_line = r->line;
	url_clear(&database->url);
	buf_text(&text, "url: ");
	int outcome = url_parse(r->value, &database->url, &text);
	buf_u8(&text, 0);
	if (outcome < 0)
		r->error = outcome;
	else if (outcome > 0)
		problem_at(r, r->line, text.failed ? "url" : (char *)text.data);
	buf_clear(&text);
}

static void set_option(struct reading *r, const struct option_row *row, void *base)
{
	struct buf text = {0};

	if (seen_before(r, row)) {
		problem_at(r, r->line, "this key stands in the section twice");
		return;
	}
	int outcome = option_parse(row, r->value, base, &text);
	buf_u8(&text, 0);
	if (outcome < 0 || text.failed)
		r->error = -ENOMEM;
	else if (outcome > 0)
		problem_at(r, r->line, (char *)text.data);
	buf_clear(&text);
}

static void set_user_option(struct reading *r, const char *key)
{
	struct config_user *user = &r->config->users[r->config->n_users - 1];
	const struct option_row *row = option_find(OPTION_USER, key);

	if (!row) {
		unknown_key(r, key);
		return;
	}
	if (row->section == OPTION_POOL) {
		user->overrides |= UINT64_C(1) << (row - options);
		set_option(r, row, &user->pool);
	} else {
		set_option(r, row, user);
	}
}

static void set_pool_option(struct reading *r, const char *key, struct config_pool *pool)
{
	const struct option_row *row = option_find(OPTION_POOL, key);

	if (row)
		set_option(r, row, pool);
	else
		unknown_key(r, key);
}

static int take_pair(void *arg, const char *ignored_section, const char *key, const char *ignored)
{
	struct reading *r = arg;
	const struct option_row *row;
	struct config *config = r->config;

	switch (r->section) {
	case SECTION_WEIR:
		row = option_find(OPTION_WEIR, key);
		if (row)
			set_option(r, row, config);
		else
			unknown_key(r, key);
		break;
	case SECTION_DEFAULTS:
		set_pool_option(r, key, &config->defaults);
		break;
	case SECTION_DATABASE:
		if (strcmp(key, "url") == 0)
			set_url(r);
		else
			set_pool_option(r, key, &config->databases[config->n_databases - 1].pool);
		break;
	case SECTION_USER:
		set_user_option(r, key);
		break;
	case SECTION_NONE:
		unknown_key(r, key);
		break;
	case SECTION_BAD:
		break;
	}
	return 1;
}

/* inih's reader: gives it "key = value" with the value put aside. Sections are begun here, so that
 * an empty one counts too. */
static char *give_line(char *str, int num, void *stream)
{
	struct reading *r = stream;
	char line[LINE_MAX_BYTES];

	if (!read_line(r, line))
		return NULL;
	char *at = skip_blank(line);
	trim_end(at);
	r->value[0] = 0;
	str[0] = '\n';
	str[1] = 0;
	if (!*at || *at == ';' || *at == '#')
		return str;
	if (*at == '[') {
		take_section_line(r, at);
		return str;
	}
	char *equals = strchr(at, '=');
	if (!equals || equals == at) {
		problem_at(r, r->line, "neither a section nor \"key = value\"");
		return str;
	}
	*equals = 0;
	trim_end(at);
	text_copy(r->value, sizeof(r->value), skip_blank(equals + 1));
	cut_comment(r->value);
	/* Anything else could mean something to inih. */
	if (strlen(at) > KEY_MAX || strspn(at, KEY_LETTERS) != strlen(at))
		unknown_key(r, at);
	else
		snprintf(str, (size_t)num, "%s = %s\n", at, PLACEHOLDER);
	return str;
}

int config_read_ini(struct config *config, struct buf *problems)
{
	struct reading *r = calloc(1, sizeof(*r));
	int outcome;

	if (!r)
		return -ENOMEM;
	r->config = config;
	r->problems = problems;
	r->path = config->path;
	r->file = fopen(r->path, "re");
	if (!r->file) {
		buf_printf(problems, "%s:0: cannot be read: %s\n", config->path, strerror(errno));
		free(r);
		return 1;
	}
	ini_parse_stream(give_line, r, take_pair, r);
	outcome = r->error ? r->error : r->n_problems > 0;
	fclose(r->file);
	explicit_bzero(r->value, sizeof(r->value));
	free(r);
	return outcome;
}

/* --- auth_file --- */

/* One "text" with "" for a quote in it; moves *at behind it. */
static bool read_quoted(char **at, char *ret_text, size_t size)
{
	char *from = skip_blank(*at);
	size_t len = 0;

	if (*from++ != '"')
		return false;
	for (; *from; from++) {
		if (*from == '"' && *++from != '"') {
			ret_text[len] = 0;
			*at = from;
			return true;
		}
		if (len + 1 >= size)
			return false;
		ret_text[len++] = *from;
	}
	return false;
}

static int take_account(
	struct config *config, const char *file, int line, char *text, struct buf *problems)
{
	char name[128], secret[1024];

	if (!read_quoted(&text, name, sizeof(name)) ||
		!read_quoted(&text, secret, sizeof(secret)) || !name[0]) {
		buf_printf(problems, "%s:%d: allowed is \"name\" \"secret\"\n", file, line);
		return 1;
	}
	struct config_user *user = config_user_for_change(config, name);
	if (user && user->password && strcmp(user->file, config->path) == 0)
		return 0; /* the section's own password holds */
	if (user && !user->password && user->file == config->path) {
		user->password = secret[0] ? strdup(secret) : NULL;
		return secret[0] && !user->password ? -ENOMEM : 0;
	}
	if (user) {
		buf_printf(problems, "%s:%d: this name stands here twice\n", file, line);
		return 1;
	}
	return config_add_user(config, name, secret[0] ? secret : NULL, config->auth_path, line);
}

static char *path_beside(const char *path, const char *name)
{
	const char *slash = strrchr(path, '/');
	struct buf b = {0};

	if (name[0] != '/' && slash)
		buf_put(&b, path, (size_t)(slash - path) + 1);
	buf_cstr(&b, name);
	return b.failed ? NULL : (char *)b.data;
}

int config_read_auth_file(struct config *config, struct buf *problems)
{
	struct reading *r = calloc(1, sizeof(*r));
	char line[LINE_MAX_BYTES];
	int outcome = 0;

	config->auth_path = path_beside(config->path, config->auth_file);
	if (!r || !config->auth_path) {
		free(r);
		return -ENOMEM;
	}
	r->config = config;
	r->problems = problems;
	r->path = config->auth_path;
	r->file = fopen(r->path, "re");
	if (!r->file) {
		buf_printf(
			problems, "%s:0: cannot be read: %s\n", config->auth_path, strerror(errno));
		free(r);
		return 1;
	}
	while (outcome >= 0 && read_line(r, line)) {
		char *at = skip_blank(line);
		trim_end(at);
		if (!*at || *at == ';' || *at == '#')
			continue;
		int taken = take_account(config, config->auth_path, r->line, at, problems);
		outcome = taken != 0 ? taken : outcome;
	}
	if (outcome == 0 && r->n_problems)
		outcome = 1;
	fclose(r->file);
	explicit_bzero(line, sizeof(line));
	free(r);
	return outcome;
}
