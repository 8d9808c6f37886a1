<?php
// SPDX-License-Identifier: ISC
// PHPMailer composes the message; reads tab-separated job lines: see clients.py, Helper.
require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;

ini_set('memory_limit', '1G');
$job = [];
foreach (file('php://stdin', FILE_IGNORE_NEW_LINES) as $line) {
	[$name, $value] = explode("\t", $line, 2);
	$job[$name] = $value;
}
$mail = new PHPMailer(true);
$mail->isSMTP();
$mail->Host = $job['host'];
$mail->Port = (int) $job['port'];
$mail->Hostname = 'client.test';
$mail->SMTPAutoTLS = false;
$mail->SMTPSecure = ['implicit' => PHPMailer::ENCRYPTION_SMTPS, 'starttls' => PHPMailer::ENCRYPTION_STARTTLS,
	'' => ''][$job['tls']];
$mail->SMTPOptions = ['ssl' => ['cafile' => $job['ca'], 'verify_peer' => true, 'verify_peer_name' => true]];
if ($job['mechanism'] !== '') {
	$mail->SMTPAuth = true;
	$mail->AuthType = $job['mechanism'];
	$mail->Username = $job['user'];
	$mail->Password = $job['password'];
}
$mail->CharSet = PHPMailer::CHARSET_UTF8;
$mail->Encoding = PHPMailer::ENCODING_8BIT;
$mail->AllowEmpty = true;
$mail->XMailer = 'PHPMailer';
$mail->setFrom($job['from']);
$mail->addAddress($job['to']);
$mail->Subject = 'Byte for byte';
$mail->Body = file_get_contents($job['file']);
$mail->send();
