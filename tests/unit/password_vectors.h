/* SPDX-License-Identifier: ISC */
/*
 * Hashes that others made, each by the tool that is named (Debian 12): what an account may bring
 * along.  "slappasswd's way" is its form, by Python's hashlib.
 */
#ifndef TESTS_UNIT_PASSWORD_VECTORS_H
#define TESTS_UNIT_PASSWORD_VECTORS_H

#include <stddef.h>

struct password_vector {
	const char *tool, *scheme, *secret, *hash;
};

#define HORSE "correct horse"
#define UTF8 "p\xC3\xA4ssword 1"
/* bcrypt reads 72 of them. */
#define EIGHTY "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"

/* clang-format off */
static const struct password_vector vectors[] = {
	{"doveadm", "argon2id", HORSE,
		"{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$/KfAsoeea+tmbwaj/QwmKw$3j2YmI5XXumE"
		"Hn8bp5r5/ASCIJ2nQVnv2l/9z9fNzA8"},
	{"doveadm", "argon2i", HORSE,
		"{ARGON2I}$argon2i$v=19$m=32768,t=4,p=1$4PInZ/rI/PWGBlY9WWTCFg$VrxOyogPYKXwLo"
		"h2OesFv6TYzllzFlhdoDq9jOk4zLY"},
	{"doveadm", "sha512-crypt", HORSE,
		"{SHA512-CRYPT}$6$LFMyla2gap59JQ8b$1NKHTiW86VFkFDoiMwnhcFQX9oBxJdtNeXgt1A9yJd"
		"vKcdr/OkJ1fkmwR.qnSarQPUsOu35tAu0HBOkzCwlgZ/"},
	{"doveadm", "sha256-crypt", HORSE,
		"{SHA256-CRYPT}$5$FKM6BcuCLTizQknG$qK8UwD3Ro3R2cjPdqeBvHhSwP1Eo76y2MjsqMQ7uqF"
		"4"},
	{"doveadm", "bcrypt", UTF8,
		"{BLF-CRYPT}$2y$05$21fqOzANFcQTCj9A0VvruuqVqdj9Ozw3ZCnK1csMMzKQkz5UJrr1q"},
	{"doveadm", "bcrypt", UTF8,
		"{CRYPT}$2y$05$OjzJSHm2XfVTi8UrbMzKIuNqE21wr3TDoUmWUu2cB0vp195jTOxQy"},
	{"doveadm", "md5-crypt", HORSE, "{MD5-CRYPT}$1$xl6gLDAm$KrHUivK9mv3NdX0SqmgBn1"},
	{"doveadm", "pbkdf2-sha1", UTF8,
		"{PBKDF2}$1$2YPVnSB119UiffpT$5000$250ee125e721e180390a594cb991aa6e8defcb20"},
	{"doveadm", "ssha512", HORSE,
		"{SSHA512}16Lmw1qt6IOfkBrHPMlX/SZoYhey/mg/s5r8UF/LnBfdfwuog5P/XFEQ0bjOad7fCRD"
		"k3Vs3swuQ9ULupZQNAWM8LNk="},
	{"doveadm", "ssha256", HORSE, "{SSHA256}+twjC6MUWzw8IZpDN+JSUMumZvmMyWCGGVQFlG69sWpErVLi"},
	{"doveadm", "ssha", UTF8, "{SSHA}O34Zc9Hb4qU6o+UU4jEVaTddNfNGK8x9"},
	{"doveadm", "sha512", HORSE,
		"{SHA512}VraY3v7bWkNbY0r+MyC7rz/c2SC2xQOkRvx7endrKY1HnRumqLYXgI6wv1ec6aldZoNH"
		"vKtxSQhayTyyeZUZew=="},
	{"doveadm", "sha256", HORSE, "{SHA256}QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="},
	{"doveadm", "sha1", HORSE, "{SHA1}L55TUjtiq8FBorTWAZ0jy6g129A="},
	{"doveadm", "sha1", HORSE, "{SHA}L55TUjtiq8FBorTWAZ0jy6g129A="},
	{"doveadm", "plain", UTF8, "{PLAIN}p\xC3\xA4ssword 1"},
	{"doveadm", "plain", UTF8, "{CLEAR}p\xC3\xA4ssword 1"},
	{"doveadm", "plain", UTF8, "{CLEARTEXT}p\xC3\xA4ssword 1"},
	{"doveadm", "ssha256", HORSE,
		"{SSHA256.HEX}058621dcaac8dc027388220d846db3bee7d753160fe9a15a0db04b6981f3f14"
		"05d62205c"},
	{"doveadm", "ssha", HORSE, "{SSHA.B64}JLrbTj8c558mF3kmwR/uQu0e/EtPlMu1"},
	{"doveadm", "sha512", HORSE,
		"{SHA512.HEX}56b698defedb5a435b634afe3320bbaf3fdcd920b6c503a446fc7b7a776b298d"
		"479d1ba6a8b617808eb0bf579ce9a95d668347bcab7149085ac93cb27995197b"},
	{"doveadm", "sha256", HORSE, "{SHA256.BASE64}QQTTb42iwlQ0n4WDZ5Pr4CngyVcGOjTJHC6SAxh7VjE="},
	{"doveadm", "sha1", HORSE, "{SHA.HEX}2f9e53523b62abc141a2b4d6019d23cba835dbd0"},
	{"doveadm", "plain", HORSE, "{PLAIN.B64}Y29ycmVjdCBob3JzZQ=="},
	{"doveadm", "plain", HORSE, "{PLAIN.HEX}636f727265637420686f727365"},
	{"doveadm", "pbkdf2-sha1", HORSE,
		"{PBKDF2.B64}JDEkL2tkTU11Qmhsckg3SVdkTyQ1MDAwJDJiNTU0ZWI3NDhhZWU5NWYwYmUzOWU4"
		"MWZlZWFjZDE4NmYxNDUyNGM="},
	{"doveadm", "sha256-crypt", HORSE,
		"{SHA256-CRYPT.HEX}24352463542e576a692f7459495834624c6d3424346f5641504e613959"
		"6e46616255364c687070397a69764d6a3676333254564d666a315a447a6949597533"},
	{"doveadm", "bcrypt", HORSE,
		"{CRYPT.B64}JDJ5JDA1JDlVdGduRGdabDM3b3NubVNlb2ZmV2VPd2tUMUdkN1d2VXRQLmtvcjlOW"
		"UNpdHRaajNCQjMy"},
	{"doveadm", "md5-crypt", HORSE,
		"{MD5-CRYPT.BASE64}JDEkYTJHZXNVaFckYkY3ckdLVXlXdm9WcHRzY3Fabm5aMQ=="},
	{"doveadm, without the suffix", "sha256", HORSE,
		"{SHA256}4104d36f8da2c254349f85836793ebe029e0c957063a34c91c2e9203187b5631"},
	{"python3 crypt", "sha512-crypt", UTF8,
		"$6$rounds=1000$jRBs1Fkk9QuVPs1f$xqXfyupa9/pPamdTUmYSkoIPJVc.7we4RIoUocGQcEYJ"
		"Ua8326vSS85JUL/6DczJl8w8GoPvubAZIBCWAJwi30"},
	{"python3 crypt", "sha256-crypt", UTF8,
		"$5$T7.Vp2T7vSpZDT6u$K94blKtMQwLbCMT2qgKAidKzIYZ9AMw5TW4q.K3RAG7"},
	{"python3 crypt", "bcrypt", UTF8,
		"$2b$04$86hHxmg2K76BwlZkapTSl.A53wCz3baPH7Mv8/Jk/T1Xhu/OziTkK"},
	{"python3 crypt", "md5-crypt", UTF8, "$1$RCYmhWag$hzFRd9lkk4X1wPb9Sk6ga/"},
	{"python3 crypt", "bcrypt", EIGHTY,
		"$2a$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i"},
	{"python3 crypt", "bcrypt", EIGHTY,
		"$2y$04$abcdefghijklmnopqrstuubzadhGtS2zEF.gu0yd0opP6cVzb.e0i"},
	{"mkpasswd", "yescrypt", HORSE,
		"$y$j9T$lNFH8Nr5cIwnw2wdDr/zx1$anh5en2s7qj5xDkOrtHToc.qKq1pjJQsIFTGH5P5Qq2"},
	{"mkpasswd", "yescrypt", UTF8,
		"$y$j75$tRF72pOg8f7vNC1rG6NTw/$kNU5gjQTp5Y2Iy9bjmdCcRFjJm0VO2mA8pkDZLx.R62"},
	{"mkpasswd", "yescrypt", HORSE,
		"$y$j7T$OilmUla9l/7iHudNeb81i/$q45oEoEuaj78QHdUqJbxha7wMgx8tHa7Ms.LOnYrl51"},
	{"mkpasswd", "bcrypt", HORSE,
		"$2b$05$yv0jd9molmQxRi/VoENZiOaSkO9XVYz4bw6cFsNvuNmQ.L0gyA27W"},
	{"mkpasswd", "bcrypt", HORSE,
		"$2a$05$6BNuaIN6C90hRi7j4Z9vbecfX6hJ3UHCBEpWjUCqus7OuBmi7Sihq"},
	{"mkpasswd", "sha512-crypt", HORSE,
		"$6$rounds=2000$S.Ir2wxKn/smKN9J$6EPui8vKkpmOb8..bdZI6/oAUbe3EK1864D13Nv25zN6"
		"aVDHT2UfQqmERazx4pYCvIj3GzZVeGMqOyridAGBa."},
	{"mkpasswd", "sha256-crypt", UTF8,
		"$5$pEL/ne6gBLEdbs1W$M.dv0uZJMx7dqTajE9RAIAjSMtewlkqzV3LbftfyZCD"},
	{"openssl passwd", "sha512-crypt", HORSE,
		"$6$Io3qECUb6zH.EWOO$ROj8QHuiCRNCGGbBzob97oe6OdOYuRSSv7skfQR8.l8hm17zL9UGjdr4"
		"F5XnUDHhNvuRX8vEudu3siiegvIms."},
	{"openssl passwd", "sha256-crypt", HORSE,
		"$5$short$zcR083ghWLoWl18WrlP31BYbZAdiyYFNuPkrdLUNuEB"},
	{"openssl passwd", "md5-crypt", HORSE, "$1$7/v.teIb$WOU8GCHElhIfbgVlF7FjF0"},
	{"passlib", "pbkdf2-sha512", UTF8,
		"$pbkdf2-sha512$1000$qZVybi1FKIWwltK6t3ZuLQ$Yh8YdxpYeCzmMdpbq2yrh.C..pL/Gaf88"
		"HIE.07.LX/.KH5pyTUwdCJ4R8OArb1oga5HkVUyQjZQne1eAFWIyw"},
	{"passlib", "pbkdf2-sha256", UTF8,
		"$pbkdf2-sha256$1000$8J6TEsK4t1aqldKasxaCEA$wTZLpmRIdARehs2E89xCgbo4iJHi8uU0i"
		"s9P2jQhxrw"},
	{"passlib", "pbkdf2-sha1", UTF8,
		"$pbkdf2$1000$KgVgzFmr1TpnrHVO6T0HAA$dt1Vy26neMyjGecAzj3ItgODvVs"},
	{"passlib", "pbkdf2-sha512", UTF8,
		"{PBKDF2-SHA512}1000$T4mxlnIOgZDyvhfCWKvVOg$BClMLdQrK3svx2cy4ht8Uyfef8s51yvKa"
		"ydZDaBQtbi0zS/ivzioOPDYD.PcamcxzIEh4Adp7ffUxwcUwG3FZg"},
	{"passlib", "pbkdf2-sha256", UTF8,
		"{PBKDF2-SHA256}1000$XasVopQyRmgNAcCYE4LQWg$AQ8OjPnGLRXPUrnxnac45DcD4ufBiqR5l"
		"bHwUs1y8lM"},
	{"passlib", "pbkdf2-sha1", UTF8,
		"{PBKDF2}1000$.j.HkDKGMMY457xXSmkNQQ$AG6EEYOFAzrMfD2BYStxzBXraSU"},
	{"passlib", "ssha", UTF8, "{SSHA}pFfTFx1k47QiU0NFkpIJl43VN1kXgpBy"},
	{"passlib", "ssha512", HORSE,
		"{SSHA512}hR0EvmKFYYVoBiPQEAFFF24TOVulPNPSqsCl7v65+yxOsMGHOTUYQqTwJGO2mRxzFFc"
		"bjQ31/lrBFfS+ijjPXIBQqjVGyFnL"},
	{"passlib", "sha1", UTF8, "{SHA}wBFJYYjnh5eS5Eft5JORpd7Gkko="},
	{"slappasswd's way", "ssha", HORSE, "{SSHA}TUJSOZXEpsO0ugaXv1z4WCS+DMwAAQIDBAUGBw=="},
	{"long salt", "ssha256", HORSE,
		"{ssha256}Kave033P7rOwHIZHpqV2K5M5zHNwyhp81YV6zZZjZXHIycrLzM3Oz9DR0tPU1dbX2Nn"
		"a29zd3t/g4eLj5OXm5w=="},
	{"longest salt", "ssha512", HORSE,
		"{SSHA512}29QtyxbW0Qth2GH5GN0ihmagtB/755oiG+oG0UjEg6L9UK/JDvWsZp5ejiy5IkbcHEa"
		"wwhh/SPu9ZHDfEL2J9AABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4fICEiIyQlJicoKSo"
		"rLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="},
	{"argon2", "argon2id", HORSE,
		"$argon2id$v=19$m=64,t=2,p=1$c29tZXNhbHQxNm9jdGV0cw$BjxPZe8eleexXjtfpF8V8xnip"
		"OiOrHBMwmvR/GExL6E"},
	{"argon2", "argon2i", HORSE,
		"$argon2i$v=19$m=64,t=3,p=1$c29tZXNhbHQxNm9jdGV0cw$vnBOf4go2qiS8sNLZ0OjcJ5j2l"
		"OuoUlQXFdFCZmOLF8"},
};
/* clang-format on */

#endif
