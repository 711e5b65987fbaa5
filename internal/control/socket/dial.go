package socket

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
)

// ErrNobody says that no process listens for a store.
var ErrNobody = errors.New("no process listens")

// maxLine bounds one line of an answer: a message of 64 MiB, as text and as its record in base64.
const maxLine = 256 << 20

// Dial finds the process that has the store at path open, and makes operations of it. [ErrNobody] where there is none.
func Dial(ctx context.Context, path string) (*operate.Operations, error) {
	p, err := placeOf(path)
	if err != nil {
		return nil, err
	}
	for _, at := range []string{p.beside, p.other} {
		if at == "" {
			continue
		}
		c, err := connect(ctx, at)
		if errors.Is(err, fs.ErrNotExist) || err != nil && refused(err) {
			continue
		}
		if err != nil {
			return nil, &penstock.Error{Code: penstock.Forbidden, Op: "control socket", Path: at, Err: cause(err), Hint: "ask as the user who runs the process"}
		}
		_ = c.Close() // it answers
		cl := newClient(at)
		return &operate.Operations{Flows: cl, Dead: cl, Journal: cl, Store: keeper{cl}, Remains: cl, Live: cl, Events: histories{cl}, Views: readModels{cl}, Jobs: queues{cl}, Remote: true, Closer: cl}, nil
	}
	return nil, ErrNobody
}

// cause is what the system said, without the address, which is shown beside it.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys.Err
	}
	return err
}

// connect opens a connection to our own or root's process; what others put in our way is refused.
func connect(ctx context.Context, at string) (net.Conn, error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	c, err := d.DialContext(ctx, "unix", at)
	if err != nil {
		return nil, err
	}
	if _, err := peer(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Remote is a process that is asked over the network: over its control port.
type Remote struct {
	URL   string      // https://host:9090
	Token string      // "": none is shown
	TLS   *tls.Config // nil: the machine's authorities, and no certificate
}

// DialPort makes operations of a process that is asked over its control port. Whether it answers shows with the first of them.
func DialPort(r Remote) (*operate.Operations, error) {
	u, err := url.Parse(r.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return nil, &penstock.Error{Code: penstock.Config, Op: "control port", Path: r.URL, Err: errors.New("it is no URL of a control port"), Hint: "write it as https://host:9090"}
	}
	cl := &client{what: "control port", at: r.URL, base: strings.TrimSuffix(r.URL, "/"), token: r.Token, http: &http.Client{
		Transport: &http.Transport{TLSClientConfig: r.TLS, DisableCompression: true, ForceAttemptHTTP2: true, TLSHandshakeTimeout: 10 * time.Second},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return errors.New("a control port does not send elsewhere")
		},
	}}
	return &operate.Operations{Flows: cl, Dead: cl, Journal: cl, Store: keeper{cl}, Remains: cl, Live: cl, Events: histories{cl}, Views: readModels{cl}, Jobs: queues{cl}, Remote: true, Closer: cl}, nil
}

// client asks over one socket, or one port.
type client struct {
	what  string // for messages: "control socket" or "control port"
	at    string // the same
	base  string // of URLs
	token string
	http  *http.Client
}

func newClient(at string) *client {
	return &client{what: "control socket", at: at, base: "http://penstock", http: &http.Client{Transport: &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return connect(ctx, at) },
		DisableCompression: true,
	}}}
}

// Close implements io.Closer.
func (c *client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// ask does one operation. item, where it is there, is given each item; its error ends the operation.
func (c *client) ask(ctx context.Context, op string, in, result any, item func([]byte) error) error {
	text, err := json.Marshal(in)
	if err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: c.what, Err: err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+version+op, bytes.NewReader(text))
	if err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: c.what, Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.http.Do(req)
	if err != nil {
		return c.broken(ctx, err)
	}
	defer func() { _ = res.Body.Close() }() // what matters has been read
	if res.StatusCode != http.StatusOK {
		return c.declined(res)
	}
	return c.lines(ctx, res.Body, result, item)
}

func (c *client) lines(ctx context.Context, r io.Reader, result any, item func([]byte) error) error {
	sc := bufio.NewScanner(r)
	sc.Buffer(make([]byte, 0, 64<<10), maxLine)
	for sc.Scan() {
		var l line
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: c.what, Path: c.at, Err: fmt.Errorf("the answer is no JSON: %w", err)}
		}
		switch {
		case l.Error != nil:
			return l.Error.error()
		case l.Result != nil:
			if err := json.Unmarshal(l.Result, result); err != nil {
				return &penstock.Error{Code: penstock.Internal, Op: c.what, Path: c.at, Err: err, Hint: otherVersion}
			}
			return nil
		case l.Item != nil && item != nil:
			if err := item(l.Item); err != nil {
				return err
			}
		}
	}
	return c.broken(ctx, sc.Err())
}

const otherVersion = "the process that runs may be of another version of penstock; use the same one, or restart it"

// broken is an answer that broke off, or never came.
func (c *client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	if c.what == "control port" {
		return c.unreached(err)
	}
	return &penstock.Error{Code: penstock.Unavailable, Op: c.what, Path: c.at, Err: fmt.Errorf("the process that runs went away: %w", cause(err)),
		Hint: "ask again: without a running process the store is opened directly"}
}

// unreached says why a control port does not answer.
func (c *client) unreached(err error) error {
	e := &penstock.Error{Code: penstock.Unavailable, Op: c.what, Path: c.at, Err: cause(err), Hint: "see that the process runs, and that its control port can be reached from here"}
	var ue *url.Error
	if errors.As(e.Err, &ue) {
		e.Err = ue.Err // without the operation's own URL
	}
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var op *net.OpError
	switch {
	case errors.As(err, &unknown):
		e.Code, e.Hint = penstock.Unauthenticated, "name the authority that its certificate comes from with --server-ca"
	case errors.As(err, &name):
		e.Code, e.Hint = penstock.Unauthenticated, "ask it by a name that its certificate bears"
	case errors.As(err, &invalid):
		e.Code, e.Hint = penstock.Unauthenticated, "give the control port another certificate"
	case errors.As(err, &op) && op.Op == "remote error": // an alert of TLS
		e.Code, e.Hint = penstock.Unauthenticated, "show a certificate that it accepts, with --client-certificate and --client-key"
	case errors.Is(err, http.ErrSchemeMismatch):
		e.Code, e.Err, e.Hint = penstock.Config, errors.New("it does not speak TLS"), "write it as http://…, or see that this is the control port"
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		e.Err, e.Hint = errors.New("the process broke off its answer"), "it may have ended: ask again"
	}
	return e
}

// declined is an answer that is none.
func (c *client) declined(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1000)) // the status says enough
	e := &penstock.Error{Code: penstock.Internal, Op: c.what, Path: c.at, Err: errors.New(strings.TrimSpace(string(text)))}
	switch res.StatusCode {
	case http.StatusNotFound:
		e.Code, e.Err, e.Hint = penstock.Config, errors.New("the process that runs doesn't know this operation"), otherVersion
		if c.what == "control port" {
			e.Hint = "see that this is the control port, and not the one that flows are called on; else " + otherVersion
		}
	case http.StatusBadRequest:
		if strings.Contains(string(text), "HTTP request to an HTTPS server") {
			e.Code, e.Err, e.Hint = penstock.Config, errors.New("it speaks TLS"), "write it as https://…"
		}
	case http.StatusForbidden:
		e.Code = penstock.Forbidden
	case http.StatusUnauthorized:
		e.Code, e.Err, e.Hint = penstock.Unauthenticated, errors.New("the process does not know who asks"), "show its token with --token-file or PENSTOCK_TOKEN, or a certificate with --client-certificate"
		if c.token != "" {
			e.Err, e.Hint = errors.New("the token is not the one that the process wants"), "look at `control: { token: … }` of its Integration"
		}
	case http.StatusServiceUnavailable:
		e.Code, e.Hint = penstock.Limited, "ask again later"
		if strings.Contains(string(text), "neither token nor clientCA") {
			e.Hint = "ask again later; if that does not help, give the Integration's `control` a token or a clientCA"
		}
	case http.StatusRequestEntityTooLarge:
		e.Code, e.Hint = penstock.TooLarge, "choose with --where, not with thousands of ids"
	}
	return e
}

// items makes the function that reads items of one type.
func items[T any](visit func(T) error) func([]byte) error {
	if visit == nil {
		return nil
	}
	return func(text []byte) error {
		var v T
		if err := json.Unmarshal(text, &v); err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "control socket", Err: err, Hint: otherVersion}
		}
		return visit(v)
	}
}

// answered gives a result only where there is no error.
func answered[T any](v *T, err error) (*T, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Status implements operate.Flows.
func (c *client) Status(ctx context.Context) (*operate.Status, error) {
	v := &operate.Status{}
	return answered(v, c.ask(ctx, opStatus, nothing{}, v, nil))
}

// Pause implements operate.Flows.
func (c *client) Pause(ctx context.Context, flow string) (*operate.Paused, error) {
	v := &operate.Paused{}
	return answered(v, c.ask(ctx, opPause, flowName{flow}, v, nil))
}

// Resume implements operate.Flows.
func (c *client) Resume(ctx context.Context, flow string) (*operate.Paused, error) {
	v := &operate.Paused{}
	return answered(v, c.ask(ctx, opResume, flowName{flow}, v, nil))
}

// Reload implements operate.Flows.
func (c *client) Reload(ctx context.Context) (*operate.Reloaded, error) {
	v := &operate.Reloaded{}
	return answered(v, c.ask(ctx, opReload, nothing{}, v, nil))
}

// Drain implements operate.Flows.
func (c *client) Drain(ctx context.Context, progress func(operate.Draining) error) (*operate.Drained, error) {
	v := &operate.Drained{}
	return answered(v, c.ask(ctx, opDrain, nothing{}, v, items(progress)))
}

// Clusters implements operate.DeadLetters.
func (c *client) Clusters(ctx context.Context, flow string) (*operate.Clusters, error) {
	v := &operate.Clusters{}
	return answered(v, c.ask(ctx, opClusters, flowName{flow}, v, nil))
}

// Show implements operate.DeadLetters.
func (c *client) Show(ctx context.Context, id string) (*operate.DeadLetter, error) {
	v := &operate.DeadLetter{}
	return answered(v, c.ask(ctx, opShow, letterID{id}, v, nil))
}

// Each implements operate.DeadLetters.
func (c *client) Each(ctx context.Context, s operate.Selection, visit func(*operate.DeadLetter) error) error {
	return c.ask(ctx, opEach, s, &nothing{}, items(visit))
}

// Act implements operate.DeadLetters.
func (c *client) Act(ctx context.Context, a operate.Action, progress func(operate.Acted) error) (*operate.Acted, error) {
	v := &operate.Acted{}
	return answered(v, c.ask(ctx, opAct, a, v, items(progress)))
}

// Trace implements operate.Journal.
func (c *client) Trace(ctx context.Context, q operate.TraceQuery) (*operate.Trace, error) {
	v := &operate.Trace{}
	return answered(v, c.ask(ctx, opTrace, q, v, nil))
}

// DropStep implements operate.Remains.
func (c *client) DropStep(ctx context.Context, s operate.StepDrop) (*operate.StepMoved, error) {
	v := &operate.StepMoved{}
	return answered(v, c.ask(ctx, opDrop, s, v, nil))
}

// RenameStep implements operate.Remains.
func (c *client) RenameStep(ctx context.Context, s operate.StepRename) (*operate.StepMoved, error) {
	v := &operate.StepMoved{}
	return answered(v, c.ask(ctx, opRename, s, v, nil))
}

// Forget implements operate.Remains.
func (c *client) Forget(ctx context.Context, g operate.GroupForget) (*operate.GroupForgotten, error) {
	v := &operate.GroupForgotten{}
	return answered(v, c.ask(ctx, opForget, g, v, nil))
}

// Tap implements operate.Live.
func (c *client) Tap(ctx context.Context, q operate.TapQuery, visit func(*operate.Glimpse) error) error {
	return c.ask(ctx, opTap, q, &nothing{}, items(visit))
}

// Send implements operate.Live.
func (c *client) Send(ctx context.Context, s operate.Sending) (*operate.Sent, error) {
	v := &operate.Sent{}
	return answered(v, c.ask(ctx, opSend, s, v, nil))
}

// keeper is the client as operate.Keeper.
type keeper struct{ *client }

// Info implements operate.Keeper.
func (k keeper) Info(ctx context.Context) (*operate.StoreInfo, error) {
	v := &operate.StoreInfo{}
	return answered(v, k.ask(ctx, opInfo, nothing{}, v, nil))
}

// Check implements operate.Keeper.
func (k keeper) Check(ctx context.Context, progress func(operate.Progress) error) (*operate.StoreCheck, error) {
	v := &operate.StoreCheck{}
	return answered(v, k.ask(ctx, opCheck, nothing{}, v, items(progress)))
}

// Compact implements operate.Keeper.
func (k keeper) Compact(ctx context.Context) (*operate.Compacted, error) {
	v := &operate.Compacted{}
	return answered(v, k.ask(ctx, opCompact, nothing{}, v, nil))
}

// Backup implements operate.Keeper.
func (k keeper) Backup(ctx context.Context, b operate.BackupRequest, progress func(operate.Progress) error) (*operate.Backup, error) {
	v := &operate.Backup{}
	return answered(v, k.ask(ctx, opBackup, b, v, items(progress)))
}
