# SPDX-License-Identifier: ISC
# Perl's Net::SMTP; reads tab-separated job lines: see clients.py, Helper.
use strict;
use warnings;
use Net::SMTP;

my %job = map { chomp; split /\t/, $_, 2 } <STDIN>;
my %tls = (SSL_ca_file => $job{ca}, SSL_verify_mode => 1);
my $smtp = Net::SMTP->new($job{host}, Port => $job{port}, Timeout => 120, Hello => 'client.test',
	$job{tls} eq 'implicit' ? (SSL => 1, %tls) : ()) or die "connect: $@";
if ($job{tls} eq 'starttls') {
	$smtp->starttls(%tls) or die 'STARTTLS: ' . $smtp->message;
}
if ($job{mechanism}) {
	require Authen::SASL;
	my $sasl = Authen::SASL->new(mechanism => $job{mechanism},
		callback => {user => $job{user}, authname => '', pass => $job{password}});
	$smtp->auth($sasl) or die 'AUTH: ' . $smtp->message;
}
open my $file, '<:raw', $job{file} or die "$job{file}: $!";
# Only here: over TLS, Net::SMTP reads replies by $/ as well.
my $content = do { local $/; <$file> };
$smtp->mail($job{from}) and $smtp->to($job{to}) and $smtp->data or die 'envelope: ' . $smtp->message;
$smtp->datasend($content) if length $content;
$smtp->dataend or die 'data: ' . $smtp->message;
$smtp->quit;
