/* The configuration as a whole: made, checked, looked up, freed. */
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "config/internal.h"
#include "util/text.h"

/* --- looking up --- */

const struct config_database *config_database(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_databases; i++) {
		if (strcmp(config->databases[i].name, name) == 0)
			return &config->databases[i];
	}
	return NULL;
}

struct config_user *config_user_for_change(struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_users; i++) {
		if (strcmp(config->users[i].name, name) == 0)
			return &config->users[i];
	}
	return NULL;
}

const struct config_user *config_user(const struct config *config, const char *name)
{
	struct map_node *node =
		map_find(&config->users_by_name, hash_text(name), config_user_equal, name);

	return node ? container_of(node, struct config_user, node) : NULL;
}

bool config_list_has(const struct config_list *list, const char *item)
{
	for (size_t i = 0; i < list->n_items; i++) {
		if (strcmp(list->items[i], item) == 0)
			return true;
	}
	return false;
}

struct config_pool config_effective(
	const struct config_database *database, const struct config_user *user)
{
	struct config_pool pool = database->pool;

	for (size_t i = 0; user && i < n_options; i++) {
		const struct option_row *row = &options[i];
		if (!(user->overrides >> i & 1))
			continue;
		/* Only durations may be overridden. */
		CHECK(row->type == OPTION_DURATION);
		memcpy((char *)&pool + row->offset, (const char *)&user->pool + row->offset,
			sizeof(usec_t));
	}
	return pool;
}

/* --- making --- */

int config_add_user(
	struct config *config, const char *name, const char *password, const char *file, int line)
{
	struct config_user *users = realloc(config->users, (config->n_users + 1) * sizeof(*users));

	if (!users)
		return -ENOMEM;
	config->users = users;
	struct config_user *user = &users[config->n_users];
	*user = (struct config_user){.max_clients = -1, .file = file, .line = line};
	user->name = strdup(name);
	user->password = password ? strdup(password) : NULL;
	if (!user->name || (password && !user->password)) {
		free(user->name);
		return -ENOMEM;
	}
	config->n_users++;
	return 0;
}

static struct config *config_new(const char *path)
{
	struct config *config = calloc(1, sizeof(*config));

	if (!config)
		return NULL;
	config->path = path ? strdup(path) : NULL;
	if ((path && !config->path) || options_set_defaults(OPTION_WEIR, config) < 0 ||
		options_set_defaults(OPTION_POOL, &config->defaults) < 0) {
		config_free(config);
		return NULL;
	}
	return config;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->n_databases; i++) {
		free(config->databases[i].name);
		url_clear(&config->databases[i].url);
	}
	for (size_t i = 0; i < config->n_users; i++) {
		free(config->users[i].name);
		options_clear(OPTION_USER, &config->users[i]);
	}
	map_clear(&config->users_by_name);
	free(config->databases);
	free(config->users);
	options_clear(OPTION_WEIR, config);
	free(config->auth_path);
	free(config->path);
	free(config);
}

/* The user of a database's URL may log in with the URL's own password. */
static int add_url_users(struct config *config)
{
	for (size_t i = 0; i < config->n_databases; i++) {
		const struct config_database *database = &config->databases[i];
		const struct url *url = &database->url;
		if (!url->user || !url->password || config_user_for_change(config, url->user))
			continue;
		int r = config_add_user(
			config, url->user, url->password, database->file, database->line);
		if (r < 0)
			return r;
	}
	return 0;
}

bool config_user_equal(const struct map_node *node, const void *key)
{
	return strcmp(container_of(node, struct config_user, node)->name, key) == 0;
}

/* Once all accounts are there: they do not move any more. */
static int index_users(struct config *config)
{
	for (size_t i = 0; i < config->n_users; i++) {
		struct config_user *user = &config->users[i];
		if (map_insert(&config->users_by_name, &user->node, hash_text(user->name)) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* --- checking what only the whole shows --- */

static int check_database(const struct config_database *database, struct buf *problems)
{
	const struct config_pool *pool = &database->pool;
	int n = 0;

	if (strcmp(database->name, "weir") == 0 || strcmp(database->name, "pgbouncer") == 0) {
		buf_printf(problems, "%s:%d: the names weir and pgbouncer are the console's\n",
			database->file, database->line);
		n++;
	}
	if (!database->url.protocol) {
		buf_printf(problems, "%s:%d: database %s has no url\n", database->file,
			database->line, database->name);
		n++;
	}
	if (pool->pool_size == 0 && pool->max_overflow == 0) {
		buf_printf(problems,
			"%s:%d: database %s may open no connection: pool_size + max_overflow must "
			"be above 0\n",
			database->file, database->line, database->name);
		n++;
	}
	if (pool->max_overflow >= 0 && pool->min_size > pool->pool_size) {
		buf_printf(problems,
			"%s:%d: database %s: min_size is above pool_size: allowed is 0 to %d\n",
			database->file, database->line, database->name, pool->pool_size);
		n++;
	}
	return n;
}

static int check_user(
	const struct config *config, const struct config_user *user, struct buf *problems)
{
	int n = 0;

	for (size_t i = 0; i < user->databases.n_items; i++) {
		if (config_database(config, user->databases.items[i]))
			continue;
		buf_printf(problems,
			"%s:%d: user %s: databases names %s, which is not configured\n", user->file,
			user->line, user->name, user->databases.items[i]);
		n++;
	}
	if (!user->password && user->file == config->path) {
		buf_printf(problems,
			"%s:%d: user %s has no password: give one here or in auth_file\n",
			user->file, user->line, user->name);
		n++;
	}
	return n;
}

static int check_console_users(const struct config *config, const struct config_list *list,
	const char *key, struct buf *problems)
{
	int n = 0;

	for (size_t i = 0; i < list->n_items; i++) {
		if (config_user(config, list->items[i]))
			continue;
		buf_printf(problems,
			"%s:0: %s names %s, who has no [user ...] section or auth_file line\n",
			config->path, key, list->items[i]);
		n++;
	}
	return n;
}

static int check(const struct config *config, struct buf *problems)
{
	int n = 0;

	for (size_t i = 0; i < config->n_databases; i++)
		n += check_database(&config->databases[i], problems);
	for (size_t i = 0; i < config->n_users; i++)
		n += check_user(config, &config->users[i], problems);
	n += check_console_users(config, &config->admin_users, "admin_users", problems);
	n += check_console_users(config, &config->stats_users, "stats_users", problems);
	return n > 0;
}

static bool has_protocol(const struct config *config, const char *protocol)
{
	for (size_t i = 0; i < config->n_databases; i++) {
		if (strcmp(config->databases[i].url.protocol, protocol) == 0)
			return true;
	}
	return false;
}

/* The usual port for MySQL is left alone by those who have no such database. */
static void close_unused_port(struct config *config)
{
	const struct option_row *row = option_find(OPTION_WEIR, "listen_mysql");
	const struct config_list *list = &config->listen_mysql;

	if (list->n_items == 1 && strcmp(list->items[0], row->fallback) == 0 &&
		!has_protocol(config, "mysql"))
		option_clear_list(&config->listen_mysql);
}

int config_read(const char *path, struct config **ret_config, struct buf *ret_problems)
{
	struct config *config = config_new(path);
	int r = config ? config_read_ini(config, ret_problems) : -ENOMEM;

	if (r >= 0 && config->auth_file) {
		int r2 = config_read_auth_file(config, ret_problems);
		r = r2 != 0 ? r2 : r;
	}
	if (r >= 0) {
		int r2 = add_url_users(config);
		if (r2 == 0)
			r2 = index_users(config);
		r = r2 != 0 ? r2 : r;
	}
	/* One mistake may cause another: what only the whole shows comes when the parts are good.
	 */
	if (r == 0)
		r = check(config, ret_problems);
	if (r != 0) {
		config_free(config);
		return r;
	}
	close_unused_port(config);
	*ret_config = config;
	return 0;
}

/* --- URLs on the command line --- */

static int add_url_database(struct config *config, const char *text, struct buf *problems)
{
	struct url url;
	struct buf why = {0};

	int r = url_parse(text, &url, &why);
	buf_u8(&why, 0);
	if (r != 0) {
		/* Only the scheme: anything else may be a part of the password. */
		size_t scheme = strcspn(text, ":/@");
		buf_printf(problems, "%.*s://...: %s\n",
			text_starts_with(text + scheme, "://") ? (int)scheme : 0, text,
			why.failed ? "bad" : (char *)why.data);
		buf_clear(&why);
		return r;
	}
	buf_clear(&why);
	const char *name = url.dbname ? url.dbname : url.user;
	if (name && config_database(config, name)) {
		buf_printf(problems, "URL: two of them have the database name %s\n", name);
		url_clear(&url);
		return 1;
	}
	struct config_database *databases =
		realloc(config->databases, (config->n_databases + 1) * sizeof(*databases));
	if (!databases) {
		url_clear(&url);
		return -ENOMEM;
	}
	config->databases = databases;
	struct config_database *database = &databases[config->n_databases++];
	*database = (struct config_database){.name = strdup(name ? name : ""),
		.url = url,
		.pool = config->defaults,
		.file = "URL",
		.line = (int)config->n_databases,
		.url_line = (int)config->n_databases};
	if (!database->name)
		return -ENOMEM;
	if (!url.user || !url.password || !name) {
		buf_text(problems,
			"URL: needs a user and a password, with which clients log in too\n");
		return 1;
	}
	return 0;
}

/* Whoever can start weir with a URL may look at its console with the URL's account. */
static int open_console(struct config *config)
{
	struct config_list *admins = &config->admin_users;

	admins->items = calloc(config->n_users + 1, sizeof(*admins->items));
	for (size_t i = 0; admins->items && i < config->n_users; i++) {
		admins->items[i] = strdup(config->users[i].name);
		if (!admins->items[i])
			return -ENOMEM;
		admins->n_items++;
	}
	return admins->items ? 0 : -ENOMEM;
}

int config_from_urls(
	char *const *urls, size_t n_urls, struct config **ret_config, struct buf *ret_problems)
{
	struct config *config = config_new(NULL);
	int r = config ? 0 : -ENOMEM;

	for (size_t i = 0; r >= 0 && i < n_urls; i++) {
		int r2 = add_url_database(config, urls[i], ret_problems);
		r = r2 != 0 ? r2 : r;
	}
	if (r == 0)
		r = add_url_users(config);
	if (r == 0)
		r = index_users(config);
	if (r == 0)
		r = open_console(config);
	if (r == 0)
		r = check(config, ret_problems);
	if (r != 0) {
		config_free(config);
		return r;
	}
	if (!has_protocol(config, "postgresql"))
		option_clear_list(&config->listen_postgresql);
	if (!has_protocol(config, "mysql"))
		option_clear_list(&config->listen_mysql);
	*ret_config = config;
	return 0;
}
