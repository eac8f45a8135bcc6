/* Arguments and configuration; then the daemon. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"
#include "daemon/daemon.h"
#include "util/random.h"

#define DEFAULT_CONFIG "/etc/weir/weir.ini"

enum { EXIT_GOOD = 0, EXIT_BAD_CONFIG = 1, EXIT_BAD_USAGE = 2 };

static const char usage[] =
	"usage: weir [options]                 run with " DEFAULT_CONFIG "\n"
	"       weir [options] URL [URL...]    run without a file: one database per URL\n"
	"\n"
	"  -c, --config FILE    another configuration file\n"
	"      --check          read and check the configuration, then exit\n"
	"      --options        print every option of weir.ini, then exit\n"
	"  -V, --version        print the version, then exit\n"
	"  -h, --help           print this, then exit\n"
	"\n"
	"A URL is what applications have: postgresql://user:password@host:port/dbname,\n"
	"or mysql://..., mariadb://... Clients connect to 127.0.0.1:6432 (PostgreSQL) or\n"
	"127.0.0.1:6433 (MySQL, MariaDB).\n"
	"See weir(8) and weir.ini(5).\n";

struct arguments {
	const char *config;
	bool check, options, version, help;
	/* For the build: the sample file and the manual page come from the option table. */
	bool print_sample, print_manual;
};

static int parse_arguments(int argc, char **argv, struct arguments *ret)
{
	static const struct option long_options[] = {{"config", required_argument, NULL, 'c'},
		{"check", no_argument, NULL, 1}, {"options", no_argument, NULL, 2},
		{"print-sample", no_argument, NULL, 3}, {"print-manual", no_argument, NULL, 4},
		{"version", no_argument, NULL, 'V'}, {"help", no_argument, NULL, 'h'}, {0}};
	int c;

	while ((c = getopt_long(argc, argv, "c:Vh", long_options, NULL)) != -1) {
		ret->check |= c == 1;
		ret->options |= c == 2;
		ret->print_sample |= c == 3;
		ret->print_manual |= c == 4;
		ret->version |= c == 'V';
		ret->help |= c == 'h';
		if (c == 'c')
			ret->config = optarg;
		if (c == '?')
			return 1;
	}
	return 0;
}

static void print(FILE *to, void (*fill)(struct buf *))
{
	struct buf text = {0};

	fill(&text);
	fwrite(text.data, 1, text.len, to);
	buf_clear(&text);
}

static int check(struct config *config)
{
	struct buf text = {0};

	int r = daemon_check(config, &text);
	if (r == 0)
		config_print_totals(config, &text);
	if (r == 0 && !config->n_databases)
		buf_text(&text, "no databases are configured\n");
	fwrite(text.data, 1, text.len, r == 0 ? stdout : stderr);
	buf_clear(&text);
	config_free(config);
	return r == 0 ? EXIT_GOOD : EXIT_BAD_CONFIG;
}

int main(int argc, char **argv)
{
	struct arguments arguments = {0};
	struct buf problems = {0};
	struct config *config;

	random_init();
	if (parse_arguments(argc, argv, &arguments) != 0) {
		fputs(usage, stderr);
		return EXIT_BAD_USAGE;
	}
	size_t n_urls = (size_t)(argc - optind);
	if (arguments.help) {
		fputs(usage, stdout);
		return EXIT_GOOD;
	}
	if (arguments.version) {
		puts("weir " WEIR_VERSION);
		return EXIT_GOOD;
	}
	if (arguments.options || arguments.print_sample || arguments.print_manual) {
		print(stdout, arguments.options        ? config_print_options
			      : arguments.print_sample ? config_print_sample
						       : config_print_manual);
		return EXIT_GOOD;
	}
	for (int i = optind; i < argc; i++) {
		if (strstr(argv[i], "://"))
			continue;
		fprintf(stderr,
			"weir: %s is no URL like postgresql://user:password@host/dbname; a "
			"configuration file is given with --config\n",
			argv[i]);
		return EXIT_BAD_USAGE;
	}
	if (n_urls && arguments.config) {
		fputs("weir: give a configuration file or URLs, not both\n", stderr);
		return EXIT_BAD_USAGE;
	}
	int r = n_urls ? config_from_urls(argv + optind, n_urls, &config, &problems)
		       : config_read(arguments.config ? arguments.config : DEFAULT_CONFIG, &config,
				 &problems);
	if (r != 0) {
		fwrite(problems.data, 1, problems.len, stderr);
		if (r < 0)
			fprintf(stderr, "weir: %s\n", strerror(-r));
		buf_clear(&problems);
		return EXIT_BAD_CONFIG;
	}
	buf_clear(&problems);
	return arguments.check ? check(config) : daemon_run(config);
}
