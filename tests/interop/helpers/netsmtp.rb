# SPDX-License-Identifier: ISC
# Ruby's net/smtp; reads tab-separated job lines: see clients.py, Helper.
require 'net/smtp'
require 'openssl'

job = $stdin.read.split("\n").to_h { |line| line.split("\t", 2) }
context = OpenSSL::SSL::SSLContext.new
context.ca_file = job['ca'] unless job['ca'].empty?
context.verify_mode = OpenSSL::SSL::VERIFY_PEER
smtp = Net::SMTP.new(job['host'], job['port'].to_i)
smtp.read_timeout = 120
case job['tls']
when 'implicit' then smtp.enable_tls(context)
when 'starttls' then smtp.enable_starttls(context)
else smtp.disable_starttls
end
login = job['mechanism'].empty? ? [] : [job['user'], job['password'], job['mechanism'].downcase.to_sym]
smtp.start('client.test', *login) do |session|
  session.send_message(File.binread(job['file']), job['from'], job['to'])
end
