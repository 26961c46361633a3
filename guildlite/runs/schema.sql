-- Compiled from schema.py by `python -m guildlite.runs.schema`; do not edit.

CREATE TABLE attr (
  name TEXT NOT NULL,
  value TEXT,
  PRIMARY KEY (name)
);

CREATE TABLE flag (
  name TEXT NOT NULL,
  value TEXT,
  PRIMARY KEY (name)
);

CREATE TABLE output (
  id INTEGER NOT NULL,
  time INTEGER,
  stream INTEGER NOT NULL,
  text TEXT NOT NULL,
  op TEXT,
  PRIMARY KEY (id)
);

CREATE TABLE source (
  id INTEGER NOT NULL,
  path TEXT NOT NULL,
  kind TEXT NOT NULL,
  digest TEXT NOT NULL,
  "offset" INTEGER NOT NULL,
  state TEXT,
  error TEXT,
  PRIMARY KEY (id)
);

CREATE UNIQUE INDEX source_path ON source (path, digest);

CREATE TABLE series_key (
  id INTEGER NOT NULL,
  "key" TEXT NOT NULL,
  kind TEXT NOT NULL,
  count INTEGER NOT NULL,
  first FLOAT,
  last FLOAT,
  min FLOAT,
  max FLOAT,
  mean FLOAT,
  first_step INTEGER,
  last_step INTEGER,
  min_step INTEGER,
  max_step INTEGER,
  first_time INTEGER,
  last_time INTEGER,
  nan INTEGER NOT NULL,
  infinite INTEGER NOT NULL,
  segments INTEGER NOT NULL,
  PRIMARY KEY (id),
  UNIQUE ("key")
);

CREATE TABLE series (
  key_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  step INTEGER NOT NULL,
  time INTEGER,
  value FLOAT,
  segment INTEGER NOT NULL,
  PRIMARY KEY (key_id, seq)
)
 WITHOUT ROWID;

CREATE TABLE segment (
  key_id INTEGER NOT NULL,
  segment INTEGER NOT NULL,
  source_id INTEGER,
  last_step INTEGER NOT NULL,
  ended INTEGER,
  PRIMARY KEY (key_id, segment)
)
 WITHOUT ROWID;

CREATE TABLE bucket (
  key_id INTEGER NOT NULL,
  bucket INTEGER NOT NULL,
  count INTEGER NOT NULL,
  first_step INTEGER NOT NULL,
  last_step INTEGER NOT NULL,
  min FLOAT,
  min_step INTEGER,
  max FLOAT,
  max_step INTEGER,
  first_time INTEGER,
  last_time INTEGER,
  PRIMARY KEY (key_id, bucket)
)
 WITHOUT ROWID;

CREATE TABLE media (
  key_id INTEGER NOT NULL,
  seq INTEGER NOT NULL,
  step INTEGER NOT NULL,
  time INTEGER,
  segment INTEGER NOT NULL,
  source_id INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  length INTEGER NOT NULL,
  checksum INTEGER NOT NULL,
  nth INTEGER NOT NULL,
  PRIMARY KEY (key_id, seq)
)
 WITHOUT ROWID;

CREATE TABLE media_key (
  key_id INTEGER NOT NULL,
  plugin TEXT NOT NULL,
  display_name TEXT NOT NULL,
  description TEXT NOT NULL,
  content INTEGER,
  PRIMARY KEY (key_id)
);

CREATE TABLE blob (
  id INTEGER NOT NULL,
  digest TEXT NOT NULL,
  data BLOB NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (digest)
);

CREATE TABLE file (
  id INTEGER NOT NULL,
  path TEXT NOT NULL,
  size INTEGER NOT NULL,
  modified INTEGER NOT NULL,
  PRIMARY KEY (id),
  UNIQUE (path)
);

CREATE TABLE embedding (
  key_id INTEGER NOT NULL,
  source_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  tensor INTEGER,
  metadata INTEGER,
  sprite INTEGER,
  bookmarks INTEGER,
  shape TEXT NOT NULL,
  sprite_size TEXT NOT NULL,
  PRIMARY KEY (key_id)
);

CREATE TABLE hparam_session (
  session TEXT NOT NULL,
  group_name TEXT,
  status TEXT,
  started INTEGER,
  ended INTEGER,
  PRIMARY KEY (session)
);

CREATE TABLE hparam (
  session TEXT NOT NULL,
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  type TEXT NOT NULL,
  PRIMARY KEY (session, name)
);

CREATE TABLE hparam_experiment (
  directory TEXT NOT NULL,
  name TEXT NOT NULL,
  description TEXT NOT NULL,
  hparams TEXT NOT NULL,
  metrics TEXT NOT NULL,
  PRIMARY KEY (directory)
);
