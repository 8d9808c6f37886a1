# SPDX-License-Identifier: ISC
#
# postern.conf(5) out of docs/configuration.md: what stands there is written once.
#   awk -f docs/man/postern.conf.5.awk docs/configuration.md >postern.conf.5
# Takes headings, paragraphs, lists, fenced code, and the tables of options.

function escape(text) {
	gsub(/\\/, "\\e", text)
	while (match(text, /\[[^]]*\]\([^)]*\)/)) { # a link: its text
		link = substr(text, RSTART, RLENGTH)
		sub(/\]\(.*/, "", link)
		text = substr(text, 1, RSTART - 1) substr(link, 2) substr(text, RSTART + RLENGTH)
	}
	while (match(text, /\*\*[^*]+\*\*/)) # bold: plain
		text = substr(text, 1, RSTART - 1) substr(text, RSTART + 2, RLENGTH - 4) substr(text, RSTART + RLENGTH)
	gsub(/`/, "", text)
	gsub(/^[.']/, "\\\\\\&&", text)
	gsub(/-/, "\\-", text)
	return text
}

function close_list() {
	if (list != "")
		print ".El"
	list = ""
}

# A sentence ends a line: mdoc asks for it.
function put(text) {
	text = escape(text)
	gsub(/\. +/, ".\n", text)
	gsub(/\n[.']/, "\n\\\\\\&&", text)
	print text
}

function flush() {
	if (paragraph == "")
		return
	if (list == "" && !headed)
		print ".Pp"
	headed = 0
	put(paragraph)
	paragraph = ""
}

BEGIN {
	print ".\\\" SPDX-License-Identifier: ISC"
	print ".\\\" Made from docs/configuration.md."
	print ".Dd November 25, 2026\n.Dt POSTERN.CONF 5\n.Os Postern"
	print ".Sh NAME\n.Nm postern.conf\n.Nd configuration of Postern\n.Sh DESCRIPTION"
	headed = 1
}

/^```/ {
	flush(); close_list()
	code = !code
	print code ? ".Bd -literal -offset indent" : ".Ed"
	next
}
code {
	print escape($0)
	next
}
/^# / { next }
/^## / {
	flush(); close_list()
	heading = escape(substr($0, 4))
	if (!sections && heading != "Syntax") {
		sections = 1
		print ".Sh OPTIONS"
	}
	gsub(/"/, "\\(dq", heading)
	print ".Ss " heading
	headed = 1
	next
}
/^\| (option|---)/ { next }
/^\| `/ {
	flush()
	split($0, cell, / \| /)
	if (list != "tag") {
		close_list()
		print ".Bl -tag -width Ds"
		list = "tag"
	}
	gsub(/[| `]/, "", cell[1])
	default_value = cell[2]
	gsub(/`/, "", default_value)
	sub(/ \|$/, "", cell[3])
	print ".It Cm " cell[1] " Pq " (default_value ~ /^(required|not set)$/ ? "" : "Cm ") default_value
	put(cell[3])
	next
}
/^- / {
	flush()
	if (list != "bullet") {
		close_list()
		print ".Bl -bullet"
		list = "bullet"
	}
	print ".It"
	paragraph = substr($0, 3)
	next
}
/^$/ {
	flush()
	if (list == "bullet")
		close_list()
	else if (list == "tag")
		close_list()
	next
}
{
	if (list == "tag")
		close_list()
	sub(/^ +/, "")
	paragraph = paragraph (paragraph == "" ? "" : " ") $0
}
END {
	flush(); close_list()
	print ".Sh FILES\n.Bl -tag -width Ds\n.It Pa /etc/postern/postern.conf\nThe configuration.\n.El"
	print ".Sh SEE ALSO\n.Xr postern 8 ,\n.Xr posternctl 8"
}
