/* What servers greet with: a MariaDB 10.11 and a MySQL 9. */
#pragma once

#define NONCE_8  "\1\2\3\4\5\6\7\10"
#define NONCE_12 "\11\12\13\14\15\16\17\20\21\22\23\24"
#define NONCE    NONCE_8 NONCE_12
#define ZEROS_10 "\0\0\0\0\0\0\0\0\0\0"

/* Connection 42; utf8mb4_general_ci, or MySQL's utf8mb4_0900_ai_ci; autocommit. */
#define MARIADB_GREETING                                                                           \
	"\x0a"                                                                                     \
	"5.5.5-10.11.19-MariaDB\0\x2a\0\0\0" NONCE_8 "\0\xfe\xf7\x2d\2\0\xff\x81\x15"              \
	"\0\0\0\0\0\0\x1d\0\0\0" NONCE_12 "\0mysql_native_password\0"
#define MYSQL_GREETING                                                                             \
	"\x0a"                                                                                     \
	"9.7.4-2\0\x2a\0\0\0" NONCE_8 "\0\xff\xff\xff\2\0\xff\xdf\x15" ZEROS_10 NONCE_12           \
	"\0caching_sha2_password\0"
