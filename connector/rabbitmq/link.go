package rabbitmq

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"penstock.dev/penstock"
	"penstock.dev/penstock/wire"
)

// role says what a connection is for.
type role int

const (
	consuming role = iota
	publishing
	roles
)

// link is what all drivers of a run that name a Connection share. It is safe for concurrent use.
type link struct {
	config *ConnectionConfig
	name   string // of the Connection
	at     string // for errors
	hosts  []string
	secure bool
	vhost  string
	user   string
	env    penstock.Env

	lines [roles]line
}

// line is one connection, opened when it is needed.
type line struct {
	mu     sync.Mutex // held while it is opened, so that all who need it wait for the one
	conn   *amqp.Connection
	host   int // the one that answered last
	closed bool
}

// linkOf finds or makes the link of a Connection. Nothing is dialled yet.
func linkOf(ref penstock.ConnectionRef, env penstock.Env) (*link, error) {
	c, ok := ref.Config.(*ConnectionConfig)
	if !ok {
		return nil, config(ref.Pos.String(), "the connection "+ref.Name+" has no configuration", "")
	}
	v, err := env.Shared("connection rabbitmq "+ref.Name, func() (any, error) { return newLink(c, ref.Name, env) })
	if err != nil {
		return nil, err
	}
	return v.(*link), nil
}

func newLink(c *ConnectionConfig, name string, env penstock.Env) (*link, error) {
	l := &link{config: c, name: name, env: env}
	at := "amqp://localhost"
	if !c.URL.IsZero() {
		text, err := fixed(c.URL, env)
		if err != nil {
			return nil, err
		}
		at = text
	}
	p, err := parseURL(at)
	if err != nil {
		return nil, config(c.URL.Pos.String(), err.Error(), "")
	}
	l.hosts, l.secure, l.vhost = []string{p.host}, p.secure || c.TLS != (TLS{}) && c.TLS.Mode != "disable", p.vhost
	if len(c.Hosts) > 0 {
		l.hosts = nil
	}
	for _, h := range c.Hosts {
		text, err := fixed(h, env)
		if err == nil {
			text, err = hostPort(text, l.secure)
		}
		if err != nil {
			return nil, config(h.Pos.String(), err.Error(), "")
		}
		l.hosts = append(l.hosts, text)
	}
	vhost, err := fixed(c.Vhost, env)
	if err != nil {
		return nil, err
	}
	l.vhost = cmp.Or(vhost, l.vhost, "/")
	if l.user, err = fixed(c.User, env); err != nil {
		return nil, err
	}
	l.at = fmt.Sprintf("connection %s (%s)", name, l.hosts[0])
	return l, nil
}

// channel opens a channel, on the connection that is there or a new one.
func (l *link) channel(ctx context.Context, r role) (*amqp.Channel, error) {
	n := &l.lines[r]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, penstock.E(penstock.Cancelled, "rabbitmq", l.at, "the run is over")
	}
	if n.conn != nil && !n.conn.IsClosed() {
		if ch, err := n.conn.Channel(); err == nil || !n.conn.IsClosed() {
			return ch, l.failure(ctx, err, "open a channel")
		}
	}
	if err := l.dial(ctx, n, r); err != nil {
		return nil, err
	}
	ch, err := n.conn.Channel()
	return ch, l.failure(ctx, err, "open a channel")
}

// dial tries the hosts in turn.
func (l *link) dial(ctx context.Context, n *line, r role) error {
	n.conn = nil
	var first error
	for i := range l.hosts {
		at := (n.host + i) % len(l.hosts)
		conn, err := l.open(ctx, l.hosts[at], r)
		if err == nil {
			n.conn, n.host = conn, at
			return nil
		}
		if first == nil || !penstock.CodeOf(err).Transient() {
			first = err
		}
		if !penstock.CodeOf(err).Transient() || ctx.Err() != nil {
			break
		}
	}
	return first
}

// open opens a connection to one host.
func (l *link) open(ctx context.Context, address string, r role) (*amqp.Connection, error) {
	at := fmt.Sprintf("connection %s (%s)", l.name, address)
	fail := func(err error, what string) error { return l.refused(ctx, err, at, what) }
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, config(at, err.Error(), "")
	}
	secure, err := l.config.TLS.config(host, l.secure)
	if err != nil {
		return nil, err
	}
	wait := l.config.ConnectTimeout.Std()
	if wait <= 0 {
		wait = 10 * time.Second
	}
	dialling, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var d net.Dialer
	raw, err := d.DialContext(dialling, "tcp", address)
	if err != nil {
		return nil, fail(err, "connect")
	}
	// Until it is open nothing else watches over it: neither heartbeats nor the context of who waits.
	stop := context.AfterFunc(dialling, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	line := raw
	if secure != nil {
		t := tls.Client(raw, secure)
		if err := t.HandshakeContext(dialling); err != nil {
			stop()
			return nil, errors.Join(fail(err, "TLS"), raw.Close())
		}
		line = t
	}
	purpose := " (reading)"
	if r == publishing {
		purpose = " (publishing)"
	}
	w := wire.New(line)
	about := amqp.Table{"product": "penstock", "connection_name": "penstock " + l.name + purpose}
	conn, err := amqp.Open(w, amqp.Config{
		SASL: []amqp.Authentication{&login{l.sasl(), about}}, Vhost: l.vhost, Heartbeat: l.config.Heartbeat.Std(), FrameSize: frameSize, Locale: "en_US", Properties: about,
	})
	if !stop() && err == nil { // the deadline was hit at the very end
		err = context.Cause(dialling)
		_ = conn.CloseDeadline(time.Now())
	}
	if err != nil {
		_ = w.Close()
		if why := w.Ended(); why != nil && !fromServer(err) { // the client has its own ideas of it
			err = why
		}
		return nil, fail(err, "log in")
	}
	go l.watch(conn, at)
	return conn, nil
}

// login asks the server to say so where it refuses us. Otherwise it would break the connection off, which looks as if it was cut, and the
// client would call every cut at this point a wrong password. The client fills in its capabilities just before it asks for the response.
type login struct {
	amqp.Authentication
	about amqp.Table
}

// Response implements amqp.Authentication.
func (a *login) Response() string {
	if can, ok := a.about["capabilities"].(amqp.Table); ok {
		can["authentication_failure_close"] = true
	}
	return a.Authentication.Response()
}

// sasl is how to log in. It is made anew each time, since secrets change.
func (l *link) sasl() amqp.Authentication {
	if l.config.Auth == "external" {
		return &amqp.ExternalAuth{}
	}
	user, password := cmp.Or(l.user, "guest"), l.config.Password.Reveal()
	if l.user == "" && l.config.Password.IsZero() {
		password = "guest"
	}
	return &amqp.PlainAuth{Username: user, Password: password}
}

// frame is how large a frame of the connection that publishes may be.
func (l *link) frame() int {
	n := &l.lines[publishing]
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.conn == nil || n.conn.Config.FrameSize == 0 {
		return frameSize
	}
	return n.conn.Config.FrameSize
}

// watch says when the server stops those who publish, and when it lets them go on. It ends with the connection.
func (l *link) watch(conn *amqp.Connection, at string) {
	for b := range conn.NotifyBlocked(make(chan amqp.Blocking, 4)) {
		if b.Active {
			l.env.Logger.Warn("the server takes no messages at the moment: the flows that publish wait", "connection", at, "reason", b.Reason)
		} else {
			l.env.Logger.Info("the server takes messages again", "connection", at)
		}
	}
}

// frameSize is how large frames are at most, if the server allows it: its own default.
const frameSize = 128 << 10

// goodbye is how long the server may take to answer that it has heard that a connection ends.
const goodbye = 5 * time.Second

// closeChannel closes a channel, which may be closed already, behind what is to be done before. A server that does not answer is not waited for long.
func closeChannel(ch *amqp.Channel, before func()) {
	done := make(chan struct{})
	go func() {
		before()
		_ = ch.Close()
		close(done)
	}()
	t := time.NewTimer(goodbye)
	defer t.Stop()
	select {
	case <-done:
	case <-t.C:
	}
}

// Close implements io.Closer: the run closes what it shared.
func (l *link) Close() error {
	for i := range l.lines {
		n := &l.lines[i]
		n.mu.Lock()
		n.closed = true
		if n.conn != nil && !n.conn.IsClosed() {
			_ = n.conn.CloseDeadline(time.Now().Add(goodbye)) // what was confirmed or settled is, whatever comes of this
		}
		n.mu.Unlock()
	}
	return nil
}
