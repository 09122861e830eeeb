package pgq

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Settings that guard a batch against defaults of the role or the server that would
// break it, above all limits on its time. A session of our own gets them once, a
// pooler's for each transaction.
var batchSettings = []string{
	"statement_timeout = 0",
	"lock_timeout = 0",
	"idle_in_transaction_session_timeout = 0",
	"datestyle = ISO",
	"jit = off",
}

var sessionSettings = []string{
	"default_transaction_isolation = 'read committed'",
	"default_transaction_read_only = off",
	"default_transaction_deferrable = off",
	"idle_session_timeout = 0",
	"client_connection_check_interval = '2s'",
	// the server, too, notices a host that is gone, whose share is another's then
	"tcp_user_timeout = '120s'",
	"tcp_keepalives_idle = 60",
	"tcp_keepalives_interval = 10",
	"tcp_keepalives_count = 6",
}

const (
	beginSQL = "begin isolation level read committed read write"
	// Is the session a pooler's, and does the server send notices of ticks?
	probeSQL = "select pg_catalog.pg_backend_pid()," +
		" pg_catalog.to_regprocedure('pgq.tick_channel(pg_catalog.text)') is not null"
	// Is what is called pgq there the extension's, and a trusted role's? Whoever owns a
	// database could put code of his own there, which would run with our rights.
	trustSQL = "with trusted as materialized (select r.oid from pg_catalog.pg_roles r" +
		" where r.rolsuper or r.rolname::pg_catalog.text operator(pg_catalog.=)" +
		" any (pg_catalog.regexp_split_to_array(pg_catalog.btrim($1::pg_catalog.text), '[ ]*,[ ]*')))" +
		" select not exists (select from pg_catalog.pg_namespace n" +
		" where n.nspname operator(pg_catalog.=) 'pgq') or exists (" +
		"select from pg_catalog.pg_extension e, pg_catalog.pg_namespace n" +
		" where e.extname operator(pg_catalog.=) 'pgq'" +
		" and n.nspname operator(pg_catalog.=) 'pgq'" +
		" and (n.oid operator(pg_catalog.=) e.extnamespace or exists (" +
		"select from pg_catalog.pg_depend d where d.objid operator(pg_catalog.=) n.oid" +
		" and d.refobjid operator(pg_catalog.=) e.oid" +
		" and d.deptype operator(pg_catalog.=) 'e'))" +
		" and e.extowner operator(pg_catalog.=) any (select t.oid from trusted t)" +
		" and n.nspowner operator(pg_catalog.=) any (select t.oid from trusted t)" +
		" and not exists (select from pg_catalog.pg_proc p" +
		" where p.pronamespace operator(pg_catalog.=) n.oid" +
		" and not p.proowner operator(pg_catalog.=) any (select t.oid from trusted t)))"
	registerSQL = "select pgq.register_consumer($1::pg_catalog.text, $2::pg_catalog.text)"
	channelSQL  = "select pg_catalog.quote_ident(pgq.tick_channel($1::pg_catalog.text))"

	// A server that does not answer this is gone.
	answerTimeout = 2 * time.Minute
)

// ErrNotTrusted: schema pgq of the database, or a function in it, is not the extension's,
// or belongs to a role that is neither a superuser nor named in PGQ_DATABASE_OWNERS.
var ErrNotTrusted = errors.New("schema pgq of this database, or a function in it, is not" +
	" the extension's, or belongs to a role that is not trusted; environment variable" +
	" PGQ_DATABASE_OWNERS names roles that may own it")

// databaseOwners are roles that may own the extension, besides superusers.
func databaseOwners() *string {
	if names, ok := os.LookupEnv("PGQ_DATABASE_OWNERS"); ok {
		return &names
	}
	return nil
}

// session is one connection.
type session struct {
	*pgx.Conn
	pooled       bool // its session is a pooler's, ours for a transaction only
	listening    bool
	notified     bool // a notice came since the last question for a batch
	sendsNotices bool // one came at all
}

// configure gives the connection's parameters what the user has left out.
func configure(dsn, consumer string) (*pgx.ConnConfig, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	if cfg.RuntimeParams["application_name"] == "" {
		cfg.RuntimeParams["application_name"] = "pgq consumer " + consumer
	}
	cfg.RuntimeParams["client_encoding"] = "UTF8"
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = 10 * time.Second
	}
	if cfg.ValidateConnect == nil {
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	}
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: time.Minute, Interval: 10 * time.Second, Count: 6}}
	cfg.DialFunc = dialer.DialContext
	return cfg, nil
}

// connect makes a session. register: the consumer is registered first.
func (c *Consumer) connect(ctx context.Context) (*session, error) {
	cfg := c.config.Copy()
	s, err := open(ctx, cfg)
	if err == nil && s.pooled && cfg.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		// a statement that is prepared here may not be there for the next one
		s.close()
		cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
		s, err = open(ctx, cfg)
	}
	if err != nil {
		return nil, err
	}
	if err = c.setUp(ctx, s); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func open(ctx context.Context, cfg *pgx.ConnConfig) (*session, error) {
	s := &session{}
	cfg.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {
		s.notified, s.sendsNotices = true, true
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s.Conn = conn
	var pid uint32
	_, err = conn.Exec(ctx, "begin read only; set local statement_timeout = 0")
	if err == nil {
		err = conn.QueryRow(ctx, probeSQL, pgx.QueryExecModeSimpleProtocol).
			Scan(&pid, &s.listening)
	}
	var trusted bool
	if err == nil {
		err = conn.QueryRow(ctx, trustSQL, pgx.QueryExecModeExec, databaseOwners()).
			Scan(&trusted)
	}
	if err == nil && !trusted {
		err = ErrNotTrusted
	}
	if err == nil {
		_, err = conn.Exec(ctx, "commit")
	}
	if err != nil {
		s.close()
		return nil, err
	}
	s.pooled = pid != conn.PgConn().PID()
	s.listening = s.listening && !s.pooled
	return s, nil
}

func (c *Consumer) setUp(ctx context.Context, s *session) error {
	if !s.pooled {
		all := append(s.settings(), sessionSettings...)
		if _, err := s.Exec(ctx, "set "+strings.Join(all, "; set ")); err != nil {
			return err
		}
	}
	if !c.registered {
		if err := s.query(ctx, []any{nil}, registerSQL, c.queue, c.consumer); err != nil {
			return err
		}
		c.registered = true
	}
	if s.listening {
		var channel *string
		if err := s.query(ctx, []any{&channel}, channelSQL, c.queue); err != nil {
			return err
		}
		s.listening = channel != nil
		if s.listening {
			_, err := s.Exec(ctx, "listen "+*channel)
			return err
		}
	}
	return nil
}

func (s *session) settings() []string {
	settings := append([]string{}, batchSettings...)
	version, _, _ := strings.Cut(s.PgConn().ParameterStatus("server_version"), ".")
	if major, _ := strconv.Atoi(version); major >= 17 {
		settings = append(settings, "transaction_timeout = 0")
	}
	// such a database has bytes that are no UTF-8, and could not send them as that
	if s.PgConn().ParameterStatus("server_encoding") == "SQL_ASCII" {
		settings = append(settings, "client_encoding = 'SQL_ASCII'")
	}
	return settings
}

// begin begins a transaction, in a pooler's session with its settings.
func (s *session) begin(ctx context.Context) (pgx.Tx, error) {
	sql := beginSQL
	if s.pooled {
		sql += "; set local " + strings.Join(s.settings(), "; set local ")
	}
	return s.BeginTx(ctx, pgx.TxOptions{BeginQuery: sql})
}

// cleanReason makes a reason that the server takes: it must not keep an event from being
// put aside.
func (s *session) cleanReason(reason string) string {
	utf8 := s.PgConn().ParameterStatus("server_encoding") == "UTF8"
	return strings.Map(func(r rune) rune {
		switch {
		case r == 0:
			return -1
		case r > 127 && !utf8:
			return '?'
		}
		return r
	}, strings.ToValidUTF8(reason, "?"))
}

// query runs a statement of its own and puts its row into dest; nil leaves a value out.
func (s *session) query(ctx context.Context, dest []any, sql string, args ...any) error {
	args = append([]any{pgx.QueryExecModeExec}, args...)
	if !s.pooled {
		return s.QueryRow(ctx, sql, args...).Scan(dest...)
	}
	tx, err := s.begin(ctx)
	if err != nil {
		return err
	}
	defer tx.Rollback(ctx)
	if err := tx.QueryRow(ctx, sql, args...).Scan(dest...); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

func (s *session) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = s.Conn.Close(ctx)
}

// sqlstate is the server's code for an error, "" if it gave none.
func sqlstate(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}

// passes: does it help to do it again? Deadlocks, serialization failures, a full disk
// or memory, a server that goes down or became a standby, a share that another worker
// has taken over.
func passes(err error) bool {
	code := sqlstate(err)
	return strings.HasPrefix(code, "40") || strings.HasPrefix(code, "53") ||
		strings.HasPrefix(code, "57P") || code == "25006" || code == "PQ002"
}

// backoff makes pauses that grow and differ: many lose a server at once, and must not
// come back at once.
type backoff time.Duration

const (
	backoffMin = backoff(200 * time.Millisecond)
	backoffMax = backoff(15 * time.Second)
)

func (b *backoff) next() time.Duration {
	longest := max(*b, backoffMin)
	*b = min(2*longest, backoffMax)
	return time.Duration(longest/2 + rand.N(longest/2+1))
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pgq: %s: %w", what, err)
}
