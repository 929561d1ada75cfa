// send.mjs PORT CA-FILE USER PASSWORD SUBJECT : one pooled connection, three messages with what web applications put in them.
import { readFileSync } from 'node:fs';
import nodemailer from 'nodemailer';

const [port, ca, user, pass, subject] = process.argv.slice(2);
const transport = nodemailer.createTransport({
	host: '127.0.0.1', port: Number(port), secure: port === '465', requireTLS: true, pool: true, maxConnections: 1,
	tls: { ca: readFileSync(ca), servername: 'smtp.isp.example' }, auth: { user, pass },
});
try {
	await transport.verify();
	for (const n of [1, 2, 3]) {
		const info = await transport.sendMail({
			from: '"Bücher Ö" <user01@isp.example>', to: 'rcpt@far.example', cc: 'cc@far.example', bcc: 'bcc@far.example',
			subject: `${subject}-${n}`, text: '.\n..\nText ö\n', html: '<p>ö</p>',
			attachments: [{ filename: 'größe.bin', content: Buffer.alloc(300000, n) }],
			dsn: { id: `node-${n}`, return: 'headers', notify: ['failure'], recipient: 'user01@isp.example' },
		});
		console.log(n, info.accepted.length, info.response);
	}
} catch (e) {
	console.log(e.code, e.responseCode, e.response);
	process.exitCode = 1;
} finally {
	transport.close();
}
