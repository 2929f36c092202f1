BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE api_keys (
	number INTEGER NOT NULL, 
	id VARCHAR(16) NOT NULL, 
	name VARCHAR(100) NOT NULL, 
	hash BLOB NOT NULL, 
	scopes TEXT NOT NULL, 
	domains TEXT NOT NULL, 
	rate VARCHAR(20), 
	daily_recipients INTEGER, 
	created_at FLOAT NOT NULL, 
	revoked_at FLOAT, 
	quota_day INTEGER NOT NULL, 
	quota_used INTEGER NOT NULL, 
	PRIMARY KEY (number)
);
INSERT INTO "api_keys" VALUES(1,'9112fd2db5aa','shop',X'C050B7AF9367E3FD620F3C8CA8E24B5EA6BC5A2A7A4A0185CCC83DB73C7445D6','["admin"]','["example.com"]','1000/s',10000,1.79543999306456828119e+09,NULL,20780,11);
CREATE TABLE emails (
	id VARCHAR(64) NOT NULL, 
	api_key VARCHAR(64) NOT NULL, 
	status VARCHAR(20) NOT NULL, 
	sender TEXT NOT NULL, 
	subject TEXT NOT NULL, 
	tags TEXT NOT NULL, 
	metadata TEXT NOT NULL, 
	on_uncertain VARCHAR(10) NOT NULL, 
	created_at FLOAT NOT NULL, 
	updated_at FLOAT NOT NULL, 
	scheduled_at FLOAT, 
	expires_at FLOAT NOT NULL, 
	due_at FLOAT NOT NULL, 
	track INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	delays INTEGER NOT NULL, 
	worker VARCHAR(200), 
	lease_until FLOAT, 
	possible_duplicates INTEGER NOT NULL, 
	suppressed INTEGER NOT NULL, 
	events INTEGER NOT NULL, 
	reason TEXT, 
	PRIMARY KEY (id)
);
INSERT INTO "emails" VALUES('01a20890-3013-7842-93c5-58520cb5f810','9112fd2db5aa','sent','Shop <shop@example.com>','你好','{"kind":"invoice"}','{"customer":42}','hold',1795439996.947,1.79544000354529047006e+09,NULL,1795612796.947,1795439996.947,1,1,0,NULL,NULL,0,0,3,'{"attempt":1,"smtp":{"code":250,"enhanced":"2.0.0","text":"OK","host":"127.0.0.1","tls":false}}');
INSERT INTO "emails" VALUES('01a20890-302c-73d3-bf2e-40cc93aa8c17','9112fd2db5aa','scheduled','shop@example.com','later','{}','{}','retry',1795439996.972,1795439996.972,1795526396.0,1795699196.0,1795526396.0,1,0,0,NULL,NULL,0,0,1,NULL);
INSERT INTO "emails" VALUES('01a20890-3f7e-7a29-ba48-3c653c764c8f','9112fd2db5aa','failed','shop@example.com','A subject','{}','{}','retry',1795440000.894,1.795440003546378851e+09,NULL,1795612800.894,1795440000.894,1,1,0,NULL,NULL,0,0,3,'{"attempt":1,"smtp":{"code":550,"enhanced":"5.1.1","text":"no such user","host":"127.0.0.1","tls":false},"error":"550 5.1.1 no such user"}');
INSERT INTO "emails" VALUES('01a20890-3f98-7aa1-8649-3ab886bb563b','9112fd2db5aa','delivery_delayed','shop@example.com','A subject','{}','{}','retry',1795440000.92,1.79544000355073404308e+09,NULL,1795612800.92,1.79544006084071779247e+09,2,1,0,NULL,NULL,0,0,3,'{"attempt":1,"smtp":{"code":451,"enhanced":"4.3.0","text":"later","host":"127.0.0.1","tls":false},"error":"451 4.3.0 later"}');
INSERT INTO "emails" VALUES('01a20890-3fab-7128-833b-6720025e375e','9112fd2db5aa','uncertain','shop@example.com','A subject','{}','{}','hold',1795440000.939,1.79544000355084085469e+09,NULL,1795612800.939,1795440000.939,1,1,0,NULL,NULL,0,0,3,'{"attempt":1,"smtp":{"code":null,"enhanced":null,"text":"no reply to the final dot: Connection unexpectedly closed","host":"127.0.0.1","tls":false},"error":"no reply to the final dot: Connection unexpectedly closed"}');
INSERT INTO "emails" VALUES('01a20890-3fc3-7fa0-a6ab-4efb9f285b16','9112fd2db5aa','canceled','shop@example.com','A subject','{}','{}','retry',1795440000.963,1.79544000098043799395e+09,1795526400.0,1795699200.0,1795526400.0,2,0,0,NULL,NULL,0,0,2,NULL);
INSERT INTO "emails" VALUES('01a20890-34b4-7da0-8aba-f925d984c77d','','sent','windmail@localhost','你好','{}','{}','retry',1795439998.132,1.79544000355054903027e+09,NULL,1795612798.132,1795439998.132,1,1,0,NULL,NULL,0,0,3,'{"attempt":1,"smtp":{"code":250,"enhanced":"2.0.0","text":"OK","host":"127.0.0.1","tls":false}}');
INSERT INTO "emails" VALUES('01a20890-514b-76f1-ac6a-857c27727ae3','9112fd2db5aa','sending','shop@example.com','A subject','{}','{}','retry',1795440005.451,1.79544000545701789859e+09,NULL,1795612805.451,1795440005.451,1,1,0,'dec789b6@host/00000000-0000-4000-8000-000000000000/pid:[4026531836]/16851/2559700',1.79544092045701789853e+09,0,0,2,NULL);
INSERT INTO "emails" VALUES('01a20890-55c2-729e-9f6f-e4693475bb39','9112fd2db5aa','queued','shop@example.com','A subject','{}','{}','retry',1795440006.594,1795440006.594,NULL,1795612806.594,1795440006.594,1,0,0,NULL,NULL,0,0,1,NULL);
CREATE TABLE events (
	email_id VARCHAR(64) NOT NULL, 
	number INTEGER NOT NULL, 
	type VARCHAR(20) NOT NULL, 
	at FLOAT NOT NULL, 
	data TEXT NOT NULL, 
	PRIMARY KEY (email_id, number), 
	FOREIGN KEY(email_id) REFERENCES emails (id) ON DELETE CASCADE
);
INSERT INTO "events" VALUES('01a20890-3fc3-7fa0-a6ab-4efb9f285b16',2,'canceled',1.79544000098043799395e+09,'{}');
INSERT INTO "events" VALUES('01a20890-3013-7842-93c5-58520cb5f810',2,'sending',1.79544000352996802332e+09,'{"attempt":1}');
INSERT INTO "events" VALUES('01a20890-3f7e-7a29-ba48-3c653c764c8f',2,'sending',1.79544000352753663068e+09,'{"attempt":1}');
INSERT INTO "events" VALUES('01a20890-34b4-7da0-8aba-f925d984c77d',2,'sending',1.7954400035301206112e+09,'{"attempt":1}');
INSERT INTO "events" VALUES('01a20890-3f98-7aa1-8649-3ab886bb563b',2,'sending',1.79544000353031134604e+09,'{"attempt":1}');
INSERT INTO "events" VALUES('01a20890-3fab-7128-833b-6720025e375e',2,'sending',1.79544000353016519546e+09,'{"attempt":1}');
INSERT INTO "events" VALUES('01a20890-3013-7842-93c5-58520cb5f810',3,'sent',1.79544000354529047006e+09,'{"attempt":1,"smtp":{"code":250,"enhanced":"2.0.0","text":"OK","host":"127.0.0.1","tls":false}}');
INSERT INTO "events" VALUES('01a20890-3f7e-7a29-ba48-3c653c764c8f',3,'failed',1.795440003546378851e+09,'{"attempt":1,"smtp":{"code":550,"enhanced":"5.1.1","text":"no such user","host":"127.0.0.1","tls":false},"error":"550 5.1.1 no such user"}');
INSERT INTO "events" VALUES('01a20890-34b4-7da0-8aba-f925d984c77d',3,'sent',1.79544000355054903027e+09,'{"attempt":1,"smtp":{"code":250,"enhanced":"2.0.0","text":"OK","host":"127.0.0.1","tls":false}}');
INSERT INTO "events" VALUES('01a20890-3f98-7aa1-8649-3ab886bb563b',3,'delivery_delayed',1.79544000355073404308e+09,'{"attempt":1,"smtp":{"code":451,"enhanced":"4.3.0","text":"later","host":"127.0.0.1","tls":false},"error":"451 4.3.0 later","next_attempt_at":"2026-11-23T13:21:00.840Z"}');
INSERT INTO "events" VALUES('01a20890-3fab-7128-833b-6720025e375e',3,'uncertain',1.79544000355084085469e+09,'{"attempt":1,"smtp":{"code":null,"enhanced":null,"text":"no reply to the final dot: Connection unexpectedly closed","host":"127.0.0.1","tls":false},"error":"no reply to the final dot: Connection unexpectedly closed"}');
INSERT INTO "events" VALUES('01a20890-514b-76f1-ac6a-857c27727ae3',2,'sending',1.79544000545701789859e+09,'{"attempt":1}');
CREATE TABLE idempotency_keys (
	api_key VARCHAR(64) NOT NULL, 
	"key" VARCHAR(256) NOT NULL, 
	body_hash BLOB NOT NULL, 
	email_ids TEXT NOT NULL, 
	created_at FLOAT NOT NULL, 
	publisher_until FLOAT NOT NULL, 
	published_at FLOAT, 
	PRIMARY KEY (api_key, "key")
);
INSERT INTO "idempotency_keys" VALUES('9112fd2db5aa','order-7',X'594BBDB0FFB919232D2E6B224FAE185E9F46E5554211BED515CF711F896C81D4','["01a20890-3013-7842-93c5-58520cb5f810"]',1.79543999694987368585e+09,1.79544000194987368583e+09,1.79543999696901845929e+09);
CREATE TABLE payloads (
	email_id VARCHAR(64) NOT NULL, 
	content BLOB NOT NULL, 
	PRIMARY KEY (email_id), 
	FOREIGN KEY(email_id) REFERENCES emails (id) ON DELETE CASCADE
);
INSERT INTO "payloads" VALUES('01a20890-302c-73d3-bf2e-40cc93aa8c17',X'7B22746F223A22616E6E406578616D706C652E636F6D222C2266726F6D5F223A2273686F70406578616D706C652E636F6D222C225F7363686564756C65645F6174223A313739353532363339362E302C227375626A656374223A226C61746572222C2274657874223A2274222C225F6170695F6B6579223A22393131326664326462356161227D');
INSERT INTO "payloads" VALUES('01a20890-3f7e-7a29-ba48-3c653c764c8f',X'7B227375626A656374223A2241207375626A656374222C2274657874223A224120746578742E222C22746F223A22626164406578616D706C652E636F6D222C2266726F6D5F223A2273686F70406578616D706C652E636F6D222C226F6E5F756E6365727461696E223A227265747279222C225F6170695F6B6579223A22393131326664326462356161227D');
INSERT INTO "payloads" VALUES('01a20890-3fab-7128-833b-6720025e375e',X'7B227375626A656374223A2241207375626A656374222C2274657874223A224120746578742E222C22746F223A22646F756274406578616D706C652E636F6D222C2266726F6D5F223A2273686F70406578616D706C652E636F6D222C226F6E5F756E6365727461696E223A22686F6C64222C225F6170695F6B6579223A22393131326664326462356161227D');
CREATE TABLE recipients (
	email_id VARCHAR(64) NOT NULL, 
	position INTEGER NOT NULL, 
	kind VARCHAR(3) NOT NULL, 
	mailbox TEXT NOT NULL, 
	address VARCHAR(320) NOT NULL, 
	code INTEGER, 
	enhanced VARCHAR(16), 
	text TEXT, 
	settled BOOLEAN NOT NULL, 
	PRIMARY KEY (email_id, position), 
	FOREIGN KEY(email_id) REFERENCES emails (id) ON DELETE CASCADE
);
INSERT INTO "recipients" VALUES('01a20890-3013-7842-93c5-58520cb5f810',0,'to','Ann <ann@example.com>','ann@example.com',250,NULL,'OK',1);
INSERT INTO "recipients" VALUES('01a20890-3013-7842-93c5-58520cb5f810',1,'cc','cid@example.com','cid@example.com',250,NULL,'OK',1);
INSERT INTO "recipients" VALUES('01a20890-3013-7842-93c5-58520cb5f810',2,'bcc','dan@example.com','dan@example.com',250,NULL,'OK',1);
INSERT INTO "recipients" VALUES('01a20890-302c-73d3-bf2e-40cc93aa8c17',0,'to','ann@example.com','ann@example.com',NULL,NULL,NULL,0);
INSERT INTO "recipients" VALUES('01a20890-3f7e-7a29-ba48-3c653c764c8f',0,'to','bad@example.com','bad@example.com',550,'5.1.1','no such user',1);
INSERT INTO "recipients" VALUES('01a20890-3f98-7aa1-8649-3ab886bb563b',0,'to','ann@example.com','ann@example.com',250,NULL,'OK',1);
INSERT INTO "recipients" VALUES('01a20890-3f98-7aa1-8649-3ab886bb563b',1,'to','later@example.com','later@example.com',451,'4.3.0','later',0);
INSERT INTO "recipients" VALUES('01a20890-3fab-7128-833b-6720025e375e',0,'to','doubt@example.com','doubt@example.com',NULL,NULL,NULL,0);
INSERT INTO "recipients" VALUES('01a20890-3fc3-7fa0-a6ab-4efb9f285b16',0,'to','ann@example.com','ann@example.com',NULL,NULL,NULL,0);
INSERT INTO "recipients" VALUES('01a20890-34b4-7da0-8aba-f925d984c77d',0,'to','ann@example.com','ann@example.com',250,NULL,'OK',1);
INSERT INTO "recipients" VALUES('01a20890-514b-76f1-ac6a-857c27727ae3',0,'to','hang@example.com','hang@example.com',NULL,NULL,NULL,0);
INSERT INTO "recipients" VALUES('01a20890-55c2-729e-9f6f-e4693475bb39',0,'to','ann@example.com','ann@example.com',NULL,NULL,NULL,0);
CREATE TABLE tags (
	email_id VARCHAR(64) NOT NULL, 
	name VARCHAR(256) NOT NULL, 
	value VARCHAR(256) NOT NULL, 
	PRIMARY KEY (email_id, name), 
	FOREIGN KEY(email_id) REFERENCES emails (id) ON DELETE CASCADE
);
INSERT INTO "tags" VALUES('01a20890-3013-7842-93c5-58520cb5f810','kind','invoice');
CREATE INDEX emails_status ON emails (status, id);
CREATE INDEX emails_key ON emails (api_key, id);
CREATE INDEX emails_created_at ON emails (created_at);
CREATE INDEX recipients_address ON recipients (address, email_id);
CREATE INDEX tags_value ON tags (name, value, email_id);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
CREATE UNIQUE INDEX api_keys_id ON api_keys (id);
COMMIT;
