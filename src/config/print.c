/* The configuration and the option table as text: --options, --check, the sample file, the manual,
 * what a reload changes. */
#include <string.h>

#include "config/internal.h"

static const char *section_name(enum option_section section)
{
	switch (section) {
	case OPTION_WEIR:
		return "weir";
	case OPTION_POOL:
		return "defaults, database";
	case OPTION_USER:
		return "user";
	case OPTION_URL:
		return "database";
	}
	return "";
}

static const char *unit_name(enum option_type type)
{
	switch (type) {
	case OPTION_DURATION:
		return "duration";
	case OPTION_SIZE:
		return "size";
	case OPTION_BOOL:
		return "boolean";
	case OPTION_INT:
	case OPTION_WORKERS:
		return "number";
	case OPTION_LIST:
		return "list";
	default:
		return "text";
	}
}

void config_print_options(struct buf *b)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct option_row *row = &options[i];
		buf_printf(b, "[%s%s] %s (%s)\n    default: %s\n    allowed: ",
			section_name(row->section), row->per_user ? ", user" : "", row->name,
			unit_name(row->type), row->fallback[0] ? row->fallback : "(empty)");
		option_print_allowed(row, b);
		buf_printf(b, "\n    reload: %s\n    %s\n",
			row->reloads ? "yes" : "needs a restart", row->help);
	}
}

static void print_sample_section(struct buf *b, enum option_section section)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct option_row *row = &options[i];
		if (row->section == section)
			buf_printf(b, "; %s\n;%s = %s\n", row->help, row->name, row->fallback);
	}
}

void config_print_sample(struct buf *b)
{
	buf_text(b, "; weir.ini: every option with its default, commented out. See weir.ini(5).\n"
		    "; Durations have a unit (250ms, 30s, 5min, 1h, 1d); a bare number is "
		    "seconds.\n\n[weir]\n");
	print_sample_section(b, OPTION_WEIR);
	buf_text(b, "\n; For all databases below.\n[defaults]\n");
	print_sample_section(b, OPTION_POOL);
	buf_text(b,
		"\n; One section per database: the name that clients connect to.\n"
		";[database shop]\n"
		";url = postgresql://shop:secret@127.0.0.1:5432/shop\n"
		"; ... or mysql://shop:secret@127.0.0.1:3306/shop, for MySQL and MariaDB\n"
		"; ... and any key of [defaults].\n"
		"\n; One section per client account; the account in a database's url needs none.\n"
		";[user reporting]\n");
	print_sample_section(b, OPTION_USER);
	buf_text(b, "; ... and these of [defaults]:");
	for (size_t i = 0; i < n_options; i++) {
		if (options[i].per_user)
			buf_printf(b, " %s", options[i].name);
	}
	buf_text(b, "\n");
}

/* A dot or apostrophe at the start of a line would be a request, and a minus a hyphen. */
static void print_roff(struct buf *b, const char *text)
{
	if (*text == '.' || *text == '\'')
		buf_text(b, "\\&");
	for (const char *at = text; *at; at++) {
		if (*at == '-')
			buf_text(b, "\\-");
		else
			buf_u8(b, (uint8_t)*at);
	}
}

static void print_manual_section(struct buf *b, enum option_section section)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct option_row *row = &options[i];
		if (row->section != section)
			continue;
		buf_printf(b, ".TP\n.BR %s \" (%s; default: ", row->name, unit_name(row->type));
		print_roff(b, row->fallback[0] ? row->fallback : "empty");
		buf_text(b, ")\"\n");
		print_roff(b, row->help);
		buf_text(b, ".\n");
		if (row->more) {
			print_roff(b, row->more);
			buf_text(b, "\n");
		}
		if (row->section != OPTION_URL &&
			(row->type == OPTION_INT || row->type == OPTION_DURATION ||
				row->type == OPTION_SIZE || row->type == OPTION_WORKERS)) {
			buf_text(b, "Allowed: ");
			struct buf allowed = {0};
			option_print_allowed(row, &allowed);
			buf_u8(&allowed, 0);
			print_roff(b, (char *)allowed.data);
			buf_clear(&allowed);
			buf_text(b, ".\n");
		}
		if (row->per_user)
			buf_text(b, "May stand in a user's section too.\n");
		if (!row->reloads)
			buf_text(b, "A change needs a restart.\n");
	}
}

void config_print_manual(struct buf *b)
{
	buf_text(b, ".SS \"[weir]\"\n");
	print_manual_section(b, OPTION_WEIR);
	buf_text(b, ".SS \"[database NAME] and, but for url, [defaults]\"\n");
	print_manual_section(b, OPTION_URL);
	print_manual_section(b, OPTION_POOL);
	buf_text(b, ".SS \"[user NAME]\"\n");
	print_manual_section(b, OPTION_USER);
}

/* --- the configuration --- */

static size_t count_accounts(const struct config *config, const struct config_database *database)
{
	size_t n = 0;

	for (size_t i = 0; i < config->n_users; i++) {
		const struct config_user *user = &config->users[i];
		n += !user->databases.n_items || config_list_has(&user->databases, database->name);
	}
	return n;
}

/* Of one pool, or of a pool per user. */
static long long max_servers(const struct config *config, const struct config_database *database)
{
	const struct config_pool *pool = &database->pool;
	long long n = (long long)pool->pool_size + pool->max_overflow;

	return database->url.user ? n : n * (long long)count_accounts(config, database);
}

long long config_max_servers(const struct config *config)
{
	long long total = 0;

	for (size_t i = 0; i < config->n_databases; i++) {
		const struct config_database *database = &config->databases[i];
		total += database->pool.max_overflow < 0 ? config->max_clients
							 : max_servers(config, database);
	}
	return total;
}

static bool same_server(const struct config_database *a, const struct config_database *b)
{
	return url_port(&a->url) == url_port(&b->url) &&
	       strcmp(a->url.hosts[0].name, b->url.hosts[0].name) == 0;
}

void config_print_totals(const struct config *config, struct buf *b)
{
	for (size_t i = 0; i < config->n_databases; i++) {
		const struct config_database *server = &config->databases[i];
		long long total = 0;
		bool unlimited = false, first = true;
		for (size_t j = 0; j < config->n_databases; j++) {
			const struct config_database *database = &config->databases[j];
			if (!same_server(server, database))
				continue;
			first &= j >= i;
			unlimited |= database->pool.max_overflow < 0;
			total += max_servers(config, database);
		}
		if (!first)
			continue;
		const char *host = server->url.hosts[0].name;
		buf_printf(b, "server %s", host);
		/* Even the usual one: on the same host there may be servers of two kinds. */
		if (*host != '/')
			buf_printf(b, ":%u", url_port(&server->url));
		if (unlimited)
			buf_text(b, ": no limit on the number of connections\n");
		else
			buf_printf(b, ": at most %lld connections\n", total);
	}
}

static void diff_options(const char *where, enum option_section section, const void *old,
	const void *new, struct buf *b)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct option_row *row = &options[i];
		struct buf before = {0}, after = {0};
		if (row->section != section || row->type == OPTION_SECRET)
			continue;
		option_print(row, old, &before);
		option_print(row, new, &after);
		buf_u8(&before, 0);
		buf_u8(&after, 0);
		if (!before.failed && !after.failed &&
			strcmp((char *)before.data, (char *)after.data) != 0)
			buf_printf(b, "%s%s %s -> %s%s\n", where, row->name, (char *)before.data,
				(char *)after.data, row->reloads ? "" : ": needs a restart");
		buf_clear(&before);
		buf_clear(&after);
	}
}

static void diff_databases(const struct config *old, const struct config *new, struct buf *b)
{
	for (size_t i = 0; i < old->n_databases; i++) {
		const struct config_database *before = &old->databases[i];
		const struct config_database *after = config_database(new, before->name);
		struct buf where = {0};
		if (!after) {
			buf_printf(b, "database %s: removed\n", before->name);
			continue;
		}
		if (!url_equal(&before->url, &after->url))
			buf_printf(b, "database %s: url changed, its connections are replaced\n",
				before->name);
		buf_printf(&where, "database %s: ", before->name);
		buf_u8(&where, 0);
		diff_options((char *)where.data, OPTION_POOL, &before->pool, &after->pool, b);
		buf_clear(&where);
	}
	for (size_t i = 0; i < new->n_databases; i++) {
		if (!config_database(old, new->databases[i].name))
			buf_printf(b, "database %s: added\n", new->databases[i].name);
	}
}

/* An override of a database's limit: as it would be written, or that there is none. */
static void print_override(const struct config_user *user, size_t row, struct buf *b)
{
	if (user->overrides >> row & 1)
		option_print(&options[row], &user->pool, b);
	else
		buf_text(b, "(the database's)");
	buf_u8(b, 0);
}

static void diff_user(const struct config_user *old, const struct config_user *new, struct buf *b)
{
	struct buf where = {0};
	bool both = old->password && new->password;

	if (both ? strcmp(old->password, new->password) != 0 : old->password != new->password)
		buf_printf(b, "user %s: password changed\n", old->name);
	buf_printf(&where, "user %s: ", old->name);
	buf_u8(&where, 0);
	diff_options((char *)where.data, OPTION_USER, old, new, b);
	for (size_t i = 0; i < n_options; i++) {
		struct buf before = {0}, after = {0};
		if (!options[i].per_user)
			continue;
		print_override(old, i, &before);
		print_override(new, i, &after);
		if (!before.failed && !after.failed &&
			strcmp((char *)before.data, (char *)after.data) != 0)
			buf_printf(b, "%s%s %s -> %s\n", (char *)where.data, options[i].name,
				(char *)before.data, (char *)after.data);
		buf_clear(&before);
		buf_clear(&after);
	}
	buf_clear(&where);
}

static void diff_users(const struct config *old, const struct config *new, struct buf *b)
{
	for (size_t i = 0; i < old->n_users; i++) {
		const struct config_user *before = &old->users[i];
		const struct config_user *after = config_user(new, before->name);
		if (!after)
			buf_printf(b, "user %s: removed\n", before->name);
		else
			diff_user(before, after, b);
	}
	for (size_t i = 0; i < new->n_users; i++) {
		if (!config_user(old, new->users[i].name))
			buf_printf(b, "user %s: added\n", new->users[i].name);
	}
}

void config_print_diff(const struct config *old, const struct config *new, struct buf *b)
{
	diff_options("", OPTION_WEIR, old, new, b);
	diff_databases(old, new, b);
	diff_users(old, new, b);
}

void config_each_option(const struct config *config, config_option_fn fn, void *arg)
{
	for (size_t i = 0; i < n_options; i++) {
		const struct option_row *row = &options[i];
		struct buf value = {0};
		char key[64];
		if (row->section != OPTION_WEIR && row->section != OPTION_POOL)
			continue;
		/* Some words mean one thing for weir and another for a database. */
		bool twice = row->section == OPTION_POOL && option_find(OPTION_WEIR, row->name);
		snprintf(key, sizeof(key), "%s%s", twice ? "defaults." : "", row->name);
		option_print(row,
			row->section == OPTION_WEIR ? (const void *)config
						    : (const void *)&config->defaults,
			&value);
		buf_u8(&value, 0);
		if (!value.failed)
			fn(arg, key, (char *)value.data, row->fallback, row->reloads);
		buf_clear(&value);
	}
}
