package socket

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
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
		return &operate.Operations{Flows: cl, Dead: cl, Journal: cl, Store: keeper{cl}, Remains: cl, Remote: true, Closer: cl}, nil
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

// client asks over one socket.
type client struct {
	at   string
	http *http.Client
}

func newClient(at string) *client {
	return &client{at: at, http: &http.Client{Transport: &http.Transport{
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
		return &penstock.Error{Code: penstock.Internal, Op: "control socket", Err: err}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://penstock"+version+op, bytes.NewReader(text))
	if err != nil {
		return &penstock.Error{Code: penstock.Internal, Op: "control socket", Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
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
			return &penstock.Error{Code: penstock.Internal, Op: "control socket", Path: c.at, Err: fmt.Errorf("the answer is no JSON: %w", err)}
		}
		switch {
		case l.Error != nil:
			return l.Error.error()
		case l.Result != nil:
			if err := json.Unmarshal(l.Result, result); err != nil {
				return &penstock.Error{Code: penstock.Internal, Op: "control socket", Path: c.at, Err: err, Hint: otherVersion}
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

// broken is an answer that broke off.
func (c *client) broken(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return &penstock.Error{Code: penstock.Unavailable, Op: "control socket", Path: c.at, Err: fmt.Errorf("the process that runs went away: %w", cause(err)),
		Hint: "ask again: without a running process the store is opened directly"}
}

// declined is an answer that is none.
func (c *client) declined(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, 1000)) // the status says enough
	e := &penstock.Error{Code: penstock.Internal, Op: "control socket", Path: c.at, Err: errors.New(strings.TrimSpace(string(text)))}
	switch res.StatusCode {
	case http.StatusNotFound:
		e.Code, e.Err, e.Hint = penstock.Config, errors.New("the process that runs doesn't know this operation"), otherVersion
	case http.StatusForbidden:
		e.Code = penstock.Forbidden
	case http.StatusServiceUnavailable:
		e.Code, e.Hint = penstock.Limited, "ask again later"
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
