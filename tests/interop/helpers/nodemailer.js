// SPDX-License-Identifier: ISC
// nodemailer, with the message as it is; reads tab-separated job lines: see clients.py, Helper.
const fs = require('fs');
const nodemailer = require(process.env.NODEMAILER);

const job = Object.fromEntries(fs.readFileSync(0, 'utf8').split('\n').filter(Boolean)
	.map((line) => line.split(/\t(.*)/s).slice(0, 2)));
const transport = nodemailer.createTransport({
	host: job.host,
	port: Number(job.port),
	name: 'client.test',
	secure: job.tls === 'implicit',
	requireTLS: job.tls === 'starttls',
	ignoreTLS: job.tls === '',
	authMethod: job.mechanism || undefined,
	auth: job.mechanism ? {user: job.user, pass: job.password} : undefined,
	tls: {ca: fs.existsSync(job.ca) ? fs.readFileSync(job.ca) : undefined},
});

transport.sendMail({envelope: {from: job.from, to: [job.to]}, raw: fs.createReadStream(job.file)})
	.then(() => transport.close())
	.catch((error) => {
		console.error(error.message);
		process.exit(1);
	});
