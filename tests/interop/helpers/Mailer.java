// SPDX-License-Identifier: ISC
// JavaMail, with the message as it is; reads tab-separated job lines: see clients.py, Helper.
import java.io.BufferedReader;
import java.io.FileInputStream;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.util.HashMap;
import java.util.Map;
import java.util.Properties;
import javax.mail.Session;
import javax.mail.Transport;
import javax.mail.Address;
import javax.mail.internet.InternetAddress;
import javax.mail.internet.MimeMessage;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

public class Mailer {
	static Map<String, String> job() throws Exception {
		Map<String, String> found = new HashMap<>();
		BufferedReader reader = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
		for (String line = reader.readLine(); line != null; line = reader.readLine()) {
			String[] parts = line.split("\t", 2);
			found.put(parts[0], parts[1]);
		}
		return found;
	}

	static void trust(Properties properties, String file) throws Exception {
		KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
		store.load(null, null);
		try (InputStream stream = new FileInputStream(file)) {
			store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(stream));
		}
		TrustManagerFactory factory = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
		factory.init(store);
		SSLContext context = SSLContext.getInstance("TLS");
		context.init(null, factory.getTrustManagers(), null);
		properties.put("mail.smtp.ssl.socketFactory", context.getSocketFactory());
	}

	public static void main(String[] arguments) throws Exception {
		Map<String, String> job = job();
		Properties properties = new Properties();
		properties.put("mail.smtp.host", job.get("host"));
		properties.put("mail.smtp.port", job.get("port"));
		properties.put("mail.smtp.localhost", "client.test");
		properties.put("mail.smtp.from", job.get("from"));
		properties.put("mail.smtp.allow8bitmime", "true");
		properties.put("mail.smtp.ssl.checkserveridentity", "true");
		if (!job.get("tls").isEmpty())
			trust(properties, job.get("ca"));
		properties.put("mail.smtp.ssl.enable", String.valueOf(job.get("tls").equals("implicit")));
		properties.put("mail.smtp.starttls.required", String.valueOf(job.get("tls").equals("starttls")));
		properties.put("mail.smtp.starttls.enable", String.valueOf(job.get("tls").equals("starttls")));
		boolean login = !job.get("mechanism").isEmpty();
		properties.put("mail.smtp.auth", String.valueOf(login));
		properties.put("mail.smtp.auth.mechanisms", job.get("mechanism"));
		Session session = Session.getInstance(properties);
		MimeMessage message;
		try (InputStream stream = new FileInputStream(job.get("file"))) {
			message = new MimeMessage(session, stream);
		}
		try (Transport transport = session.getTransport("smtp")) {
			if (login)
				transport.connect(job.get("user"), job.get("password"));
			else
				transport.connect();
			transport.sendMessage(message, new Address[] {new InternetAddress(job.get("to"))});
		}
	}
}
