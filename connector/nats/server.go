package nats

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"penstock.dev/penstock"
	"penstock.dev/penstock/jsonview"
)

var serverSpec = penstock.Spec{
	Name:    "nats",
	Summary: "Answers requests to a subject of core NATS (`reply`): what the flow makes of a request is the reply.",
	Settle:  penstock.Each,
	Replay:  penstock.ReplayAgain,
}

// ServerConfig is the configuration of the server: `from: {nats: {subject: prices.*, reply: {}}}`.
type ServerConfig struct {
	// The server to listen at.
	Connection penstock.ConnectionRef `json:"connection" penstock:"required"`
	// The subject whose requests are answered; wildcards are allowed.
	Subject penstock.Template `json:"subject" penstock:"required"`
	// The queue group: of all that listen under this name, one answers each request. Default: the name of the flow, so that several processes share the
	// requests.
	Queue string `json:"queue"`
	// How requests are answered. With `reply: {}`, what the flow makes of the request is the reply, as JSON; a flow that sends its messages elsewhere answers when they
	// are durable, with nothing. A failure is answered with the headers Nats-Service-Error-Code, the status that HTTP would give, and Nats-Service-Error (ADR-32
	// of NATS), and {"code", "detail"} as the body.
	Reply *Reply `json:"reply" penstock:"required"`
	// How the requests are written.
	Format penstock.Format `json:"format" penstock:"default=json"`
	// How many requests may be worked on at once; others wait.
	MaxRequests int `json:"maxRequests" penstock:"default=256,min=1,max=100000"`
	// How long the flow may take for a request, which then fails as timed out.
	Timeout penstock.Duration `json:"timeout" penstock:"default=30s,min=1ms"`
}

// Reply says how requests are answered.
type Reply struct {
	// How the replies are written.
	Format penstock.Format `json:"format" penstock:"default=json,at=reply"`
	// Headers of the replies. One whose value is empty is left out.
	Headers map[string]penstock.Template `json:"headers" penstock:"place=header,at=reply"`
}

// Validate implements penstock.Resolver.
func (c *ServerConfig) Validate() (errs []error) {
	if isStatic(c.Subject) {
		if err := checkSubject(c.Subject.Source, true); err != nil {
			errs = append(errs, err)
		}
	}
	if strings.ContainsFunc(c.Queue, func(r rune) bool { return r <= ' ' }) {
		errs = append(errs, fmt.Errorf("queue %q has a space", c.Queue))
	}
	if c.Reply == nil {
		return errs
	}
	for name := range c.Reply.Headers {
		if err := checkHeader(name); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// The headers of a reply that is a failure.
const (
	errorCode = "Nats-Service-Error-Code"
	errorText = "Nats-Service-Error"
)

// server answers requests.
type server struct {
	config  ServerConfig
	env     penstock.Env
	decoder *decoder
	link    *link
	handler penstock.Handler
	slots   chan struct{}
	work    sync.WaitGroup
	spare   sync.Pool // *exchange
}

// exchange is one request and its reply, with memory that is used again.
type exchange struct {
	batch penstock.Batch
	out   []byte
	text  []byte
}

var _ penstock.Server = (*server)(nil)

func newServer(c ServerConfig, env penstock.Env) (penstock.Server, error) {
	if c.Reply == nil || c.Reply.Format.Codec == nil {
		return nil, penstock.E(penstock.Config, "nats", env.Name, "no reply, or no codec for it")
	}
	d, err := newDecoder(c.Format, "")
	if err != nil {
		return nil, err
	}
	s := &server{config: c, env: env, decoder: d, slots: make(chan struct{}, c.MaxRequests)}
	s.spare.New = func() any { return new(exchange) }
	return s, nil
}

// Serve implements penstock.Server.
func (s *server) Serve(ctx context.Context, h penstock.Handler) (err error) {
	if ctx.Err() != nil {
		return nil
	}
	s.handler = h
	if s.link, err = connect(s.config.Connection, s.env); err != nil {
		return err
	}
	if err = s.link.open(ctx); err != nil {
		return err
	}
	subject, err := fixed(s.config.Subject, s.env)
	if err == nil {
		err = checkSubject(subject, true)
	}
	if err != nil {
		return config(s.env.Name, "", "%w", err)
	}
	failed := make(chan error, 1)
	fail := func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	defer s.link.watch(&watcher{ended: fail, denied: func(denied string, err error) {
		if denied == subject {
			fail(err)
		}
	}})()
	queue := s.config.Queue
	if queue == "" {
		queue = flowOf(s.env.Name)
	}
	sub, err := s.link.nc.QueueSubscribe(subject, queue, s.take)
	if err != nil {
		return failure(err, "subject "+subject, true)
	}
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	s.leave(sub)
	return err
}

// leave takes no more requests, and waits until those that are here are answered.
func (s *server) leave(sub *nats.Subscription) {
	drained := sub.StatusChanged(nats.SubscriptionClosed)
	if sub.Drain() == nil {
		c, stop := s.env.Clock.NewTimer(s.config.Timeout.Std() + 5*time.Second)
		select {
		case <-drained:
		case <-c: // the connection is away
		}
		stop()
	}
	s.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = s.link.nc.FlushWithContext(ctx) // the replies
}

// take takes a request. While as many as may be are worked on, it waits, and with it those behind.
func (s *server) take(m *nats.Msg) {
	s.slots <- struct{}{}
	s.work.Go(func() {
		defer func() { <-s.slots }()
		s.answer(m)
	})
}

// answer works on a request.
func (s *server) answer(m *nats.Msg) {
	x := s.spare.Get().(*exchange)
	reply := &nats.Msg{Subject: m.Reply}
	err := s.run(x, m, reply)
	if err != nil {
		s.refuse(reply, err)
	}
	if m.Reply != "" {
		if err := s.link.nc.PublishMsg(reply); err != nil {
			s.env.Logger.Warn("a reply could not be sent", "subject", m.Subject, "error", err)
			if errors.Is(err, nats.ErrMaxPayload) {
				reply = &nats.Msg{Subject: m.Reply}
				s.refuse(reply, &penstock.Error{Code: penstock.TooLarge, Op: "nats", Err: err})
				_ = s.link.nc.PublishMsg(reply)
			}
		}
	}
	x.batch.Reset()
	s.spare.Put(x)
}

// run has the flow work on a request, and makes the reply.
func (s *server) run(x *exchange, in *nats.Msg, out *nats.Msg) error {
	x.batch.Runtime = s.env.Runtime
	m := x.batch.Append()
	if err := s.decoder.decode(&x.batch, m, &message{in.Subject, in.Header, in.Data}); err != nil {
		return err
	}
	if err := m.Body.Parse(jsonview.Limits{}); err != nil {
		return &penstock.Error{Code: penstock.Invalid, Op: "decode", Path: "body", Err: err}
	}
	m.Key = ""
	m.Time = s.env.Clock.Now()
	if s.env.RequestSlot >= 0 {
		s.request(x, m, in)
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.config.Timeout.Std())
	defer cancel()
	if err := s.handler.Handle(ctx, &x.batch); err != nil {
		if penstock.CodeOf(err).Transient() {
			return err
		}
		return &penstock.Error{Code: penstock.Unavailable, Op: "nats", Err: err}
	}
	if err := x.batch.Err(0); err != nil {
		if ctx.Err() != nil && penstock.CodeOf(err) == penstock.Cancelled {
			err = &penstock.Error{Code: penstock.Timeout, Op: "nats", Err: err}
		}
		return err
	}
	return s.replyOf(x, x.batch.Msgs[0], out)
}

// request makes what expressions read as request.
func (s *server) request(x *exchange, m *penstock.Message, in *nats.Msg) {
	b := x.batch.Arena().Tail(512)
	b = append(b, `{"method":"","path":{"subject":`...)
	b = append(jsonview.AppendString(b, in.Subject), `},"query":{},"header":{`...)
	for i, e := range m.Meta.Entries() {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsonview.AppendString(b, e.Name), ':')
		b = jsonview.AppendString(b, e.Value.Str())
	}
	doc := x.batch.NewDoc()
	doc.Reset(jsonview.JSON, x.batch.Arena().Keep(append(b, "}}"...)))
	for len(m.Vars) <= s.env.RequestSlot {
		m.Vars = append(m.Vars, penstock.Absent)
	}
	m.Vars[s.env.RequestSlot] = penstock.NodeValue(doc, 0)
}

// replyOf makes the reply of what the flow has made of the request.
func (s *server) replyOf(x *exchange, m *penstock.Message, out *nats.Msg) error {
	for name, t := range s.config.Reply.Headers {
		text := t.Source
		if t.Program != nil {
			var err error
			if text, err = textOf(t, x.batch.Frame(m), &x.text, name); err != nil {
				return &penstock.Error{Code: penstock.Internal, Op: "reply", Path: "headers." + name, Err: err}
			}
		}
		if text != "" {
			if out.Header == nil {
				out.Header = nats.Header{}
			}
			out.Header[name] = []string{text}
		}
	}
	if m.Body == nil {
		return nil
	}
	data, from, body, err := encode(x.out[:0], m.Body, s.config.Reply.Format)
	x.out = body
	if err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "reply", Err: err}
	}
	if from >= 0 {
		data = body[from:]
	}
	out.Data = data
	return nil
}

// refuse makes the reply of what went wrong: the code, and of what is wrong with the request as much as helps; nothing of what is inside.
func (s *server) refuse(out *nats.Msg, err error) {
	code := penstock.CodeOf(err)
	if code == penstock.Config {
		code = penstock.Internal
	}
	detail := detailOf(err, code)
	s.env.Logger.Debug("a request failed", "code", code, "error", err)
	b := jsonview.AppendString([]byte(`{"code":`), string(code))
	text := string(code)
	if detail != "" {
		b = jsonview.AppendString(append(b, `,"detail":`...), detail)
		text = detail
	}
	out.Data = append(b, '}')
	out.Header = nats.Header{errorCode: {strconv.Itoa(code.HTTPStatus())}, errorText: {text}}
}

// spoken are what errors say that they were doing when it was the message that was at fault: the text of such an error speaks of the request's own
// content.
var spoken = map[string]bool{
	"map": true, "set": true, "remove": true, "mask": true, "filter": true, "validate": true, "decode": true, "encode": true, "sort": true,
	"choice": true, "split": true, "forEach": true, "key": true, "when": true,
}

// detailOf is what a caller is told beside the code: what a `fail` step says, and what is wrong with the request's content. Of all else, which may
// name hosts, files and tables, nothing.
func detailOf(err error, code penstock.Code) string {
	for next := err; next != nil; {
		var e *penstock.Error
		if !errors.As(next, &e) {
			return ""
		}
		switch {
		case e.Err == nil:
		case e.Op == "fail":
			return e.Err.Error()
		case (code == penstock.Invalid || code == penstock.Unprocessable) && spoken[e.Op]:
			text := e.Err.Error()
			if e.Path != "" {
				text = e.Path + ": " + text
			}
			return text
		}
		next = e.Err
	}
	return ""
}

// replyError is the failure that a reply tells of; nil for one that is none.
func replyError(m *nats.Msg, subject string) error {
	status := m.Header.Get(errorCode)
	if status == "" {
		return nil
	}
	n, err := strconv.Atoi(status)
	if err != nil {
		n = 500
	}
	e := &penstock.Error{Code: penstock.Internal, Op: "nats", Path: "subject " + subject, Err: fmt.Errorf("it answers %s: %.500s", status, valid(m.Header.Get(errorText)))}
	for _, c := range penstock.Codes() {
		if c != penstock.Config && c.HTTPStatus() == n {
			e.Code = c
			break
		}
	}
	if e.Code == penstock.Internal && n >= 400 && n < 500 {
		e.Code = penstock.Unprocessable
	}
	return e
}
