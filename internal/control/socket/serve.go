package socket

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"slices"
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/jobs"
)

// maxReading is how long a request may take to come in.
const maxReading = 10 * time.Second

// maxAtOnce bounds the operations that run at once; maxTaps those that last as long as somebody looks on, which so leave room for the others.
const (
	maxAtOnce = 16
	maxTaps   = 8
)

// maxTaking is how long the other side may take to accept a line of an answer.
const maxTaking = 30 * time.Second

// Server answers on a socket.
type Server struct {
	http *http.Server
	stop context.CancelCauseFunc
	done chan struct{}
}

// errEnds is why an operation is broken off when the process ends.
var errEnds = &penstock.Error{Code: penstock.Cancelled, Op: "control socket", Err: errors.New("the process ends"),
	Hint: "ask again: without a running process the store is opened directly"}

// Serve answers on l with ops until [Server.Close]. Connections of other users are refused, where the system tells who is there.
func Serve(l net.Listener, ops *operate.Operations) *Server {
	ctx, stop := context.WithCancelCause(context.Background())
	s := &Server{stop: stop, done: make(chan struct{})}
	s.http = &http.Server{
		Handler:           handler(ops),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // who asks is told what is wrong
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			who, err := peer(c)
			return context.WithValue(ctx, callerKey{}, caller{who, err})
		},
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(l) // ends with Close, or because the socket is gone: then nobody can ask
	}()
	return s
}

// Close takes the socket away, lets operations that are nearly done finish (what ctx allows), breaks off the others, and returns when
// all have ended.
func (s *Server) Close(ctx context.Context) {
	if s.http.Shutdown(ctx) != nil {
		s.stop(errEnds)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = s.http.Shutdown(late)
	}
	_ = s.http.Close() // what still doesn't end
	s.stop(errEnds)
	<-s.done
}

type callerKey struct{}

type caller struct {
	who string
	err error
}

// who asks: whom the system names, or, where it names nobody, whom the request does.
func who(ctx context.Context, said string) string {
	if c, ok := ctx.Value(callerKey{}).(caller); ok && c.who != "" {
		return c.who
	}
	return said
}

// operationOf is one operation: how it is asked for, what for, and what is answered. The zero values stand for the types, for the
// description of the interface.
type operationOf struct {
	path    string
	summary string
	request any // what is asked; nil: nothing
	item    any // what comes before the result, any number of times; nil: nothing
	result  any
	do      func(ctx context.Context, in decoder, out *answer) (any, error)
}

// asked makes an operation of a function that takes a request.
func asked[Q, R any](path, summary string, item any, do func(ctx context.Context, q Q, out *answer) (R, error)) operationOf {
	var q Q
	var r R
	o := operationOf{path: path, summary: summary, item: item, result: r, do: func(ctx context.Context, in decoder, out *answer) (any, error) {
		var q Q
		if err := in(&q); err != nil {
			return nil, err
		}
		return do(ctx, q, out)
	}}
	if _, none := any(q).(nothing); !none {
		o.request = q
	}
	return o
}

// operations are all that can be asked for.
func operations(ops *operate.Operations) []operationOf {
	return []operationOf{
		asked(opStatus, "What each flow does, and what waits for it.", nil, func(ctx context.Context, _ nothing, _ *answer) (*operate.Status, error) { return ops.Flows.Status(ctx) }),
		asked(opDrain, "Stops reading, finishes what is in flight, and ends the process. Each item is how far it has come.", operate.Draining{}, func(ctx context.Context, _ nothing, out *answer) (*operate.Drained, error) {
			return ops.Flows.Drain(ctx, func(d operate.Draining) error { return out.item(d) })
		}),
		asked(opPause, "Has a flow read no more, until it is resumed. What it has read goes on to its end.", nil, func(ctx context.Context, q flowName, _ *answer) (*operate.Paused, error) {
			return ops.Flows.Pause(ctx, q.Flow)
		}),
		asked(opResume, "Has a paused flow read on.", nil, func(ctx context.Context, q flowName, _ *answer) (*operate.Paused, error) {
			return ops.Flows.Resume(ctx, q.Flow)
		}),
		asked(opReload, "Reads the configuration again and does what it says. Where that is refused, everything goes on as it was, and the result says why.", nil, func(ctx context.Context, _ nothing, _ *answer) (*operate.Reloaded, error) {
			return ops.Flows.Reload(ctx)
		}),
		asked(opTap, "Shows messages as they go through a flow, or come to a step; what a schema labels is hidden. It lasts until the caller hangs up, or the process ends.", operate.Glimpse{}, func(ctx context.Context, q operate.TapQuery, out *answer) (nothing, error) {
			return nothing{}, ops.Live.Tap(ctx, q, func(g *operate.Glimpse) error { return out.item(g) })
		}),
		asked(opSend, "Gives a message to a flow or a channel. What is in a channel is durable when it is answered.", nil, func(ctx context.Context, q operate.Sending, _ *answer) (*operate.Sent, error) {
			q.Who = who(ctx, q.Who)
			return ops.Live.Send(ctx, q)
		}),
		asked(opClusters, "Counts the open dead letters, by what went wrong.", nil, func(ctx context.Context, q flowName, _ *answer) (*operate.Clusters, error) {
			return ops.Dead.Clusters(ctx, q.Flow)
		}),
		asked(opShow, "One dead letter.", nil, func(ctx context.Context, q letterID, _ *answer) (*operate.DeadLetter, error) {
			return ops.Dead.Show(ctx, q.ID)
		}),
		asked(opEach, "Open dead letters, one an item.", operate.DeadLetter{}, func(ctx context.Context, q operate.Selection, out *answer) (nothing, error) {
			return nothing{}, ops.Dead.Each(ctx, q, func(d *operate.DeadLetter) error { return out.item(d) })
		}),
		asked(opAct, "Redrives or drops dead letters, and writes down who did so.", operate.Acted{}, func(ctx context.Context, q operate.Action, out *answer) (*operate.Acted, error) {
			q.Who = who(ctx, q.Who)
			return ops.Dead.Act(ctx, q, func(a operate.Acted) error { return out.item(a) })
		}),
		asked(opTrace, "The way of messages, by id or key.", nil, func(ctx context.Context, q operate.TraceQuery, _ *answer) (*operate.Trace, error) {
			return ops.Journal.Trace(ctx, q)
		}),
		asked(opInfo, "What the store holds.", nil, func(ctx context.Context, _ nothing, _ *answer) (*operate.StoreInfo, error) {
			return ops.Store.Info(ctx)
		}),
		asked(opCheck, "Reads the whole store, and says what is damaged.", operate.Progress{}, func(ctx context.Context, _ nothing, out *answer) (*operate.StoreCheck, error) {
			return ops.Store.Check(ctx, func(p operate.Progress) error { return out.item(p) })
		}),
		asked(opCompact, "Gives free space of the store's file back to the file system.", nil, func(ctx context.Context, _ nothing, _ *answer) (*operate.Compacted, error) {
			return ops.Store.Compact(ctx)
		}),
		asked(opBackup, "Copies the store into a new file of the process's machine.", operate.Progress{}, func(ctx context.Context, q operate.BackupRequest, out *answer) (*operate.Backup, error) {
			return ops.Store.Backup(ctx, q, func(p operate.Progress) error { return out.item(p) })
		}),
		asked(opDrop, "Gives up what a durable step has left.", nil, func(ctx context.Context, q operate.StepDrop, _ *answer) (*operate.StepMoved, error) {
			q.Who = who(ctx, q.Who)
			return ops.Remains.DropStep(ctx, q)
		}),
		asked(opRename, "Gives what a durable step has left to another.", nil, func(ctx context.Context, q operate.StepRename, _ *answer) (*operate.StepMoved, error) {
			q.Who = who(ctx, q.Who)
			return ops.Remains.RenameStep(ctx, q)
		}),
		asked(opForget, "Removes a group of a channel that nobody reads any more.", nil, func(ctx context.Context, q operate.GroupForget, _ *answer) (*operate.GroupForgotten, error) {
			q.Who = who(ctx, q.Who)
			return ops.Remains.Forget(ctx, q)
		}),
	}
}

// handler maps paths to operations.
func handler(ops *operate.Operations) http.Handler {
	mux := http.NewServeMux()
	for _, o := range slices.Concat(operations(ops), eventOperations(ops), viewOperations(ops), jobOperations(ops)) {
		mux.Handle(version+o.path, operation(o.do))
	}
	all, taps := make(chan struct{}, maxAtOnce), make(chan struct{}, maxTaps)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(callerKey{}).(caller); ok && c.err != nil {
			http.Error(w, "this socket is its owner's", http.StatusForbidden)
			return
		}
		slots := all
		if r.URL.Path == version+opTap {
			slots = taps
		}
		select {
		case slots <- struct{}{}:
			defer func() { <-slots }()
			mux.ServeHTTP(w, r)
		default:
			http.Error(w, "too many operations at once", http.StatusServiceUnavailable)
		}
	})
}

// Handler answers the operations below /v1/, and their description in OpenAPI at /v1/openapi.json; at /v1/queues/openapi.json is that of what workers ask
// of queues, on another port. It is for a port that has made sure who asks, and says so with [As].
func Handler(ops *operate.Operations) http.Handler {
	mux := http.NewServeMux()
	mux.Handle(version, handler(ops))
	mux.HandleFunc("GET "+version+"openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(OpenAPI()) // who asked may have gone
	})
	mux.HandleFunc("GET "+version+"queues/openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(jobs.OpenAPI()) // who asked may have gone
	})
	return mux
}

// As says who asks, for what is written down.
func As(ctx context.Context, who string) context.Context {
	return context.WithValue(ctx, callerKey{}, caller{who: who})
}

// decoder reads the request.
type decoder func(into any) error

// operation makes a handler of a function.
func operation(f func(context.Context, decoder, *answer) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "operations are asked for with POST", http.StatusMethodNotAllowed)
			return
		}
		ctl := http.NewResponseController(w)
		slow := ctl.SetReadDeadline(time.Now().Add(maxReading))
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			http.Error(w, "the request is too large, or broke off", http.StatusRequestEntityTooLarge)
			return
		}
		// The operation itself may last: the deadline would end it, as the server goes on listening whether the other side hangs up.
		if errors.Join(slow, ctl.SetReadDeadline(time.Time{})) != nil {
			return // the connection is gone
		}
		if len(bytes.TrimSpace(body)) == 0 {
			body = []byte("{}") // by hand one leaves it out
		}
		w.Header().Set("Content-Type", "application/x-ndjson")
		out := &answer{w: w, flush: ctl}
		res, err := run(r.Context(), f, func(into any) error {
			if err := json.Unmarshal(body, into); err != nil {
				return &penstock.Error{Code: penstock.Invalid, Op: "control socket", Err: err}
			}
			return nil
		}, out)
		if err != nil && errors.Is(context.Cause(r.Context()), errEnds) {
			err = errEnds
		}
		out.end(res, err)
	})
}

// run calls f; a panic is an error of this one operation, and not the end of the flows that the process runs.
func run(ctx context.Context, f func(context.Context, decoder, *answer) (any, error), in decoder, out *answer) (res any, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &penstock.Error{Code: penstock.Internal, Op: "control socket", Err: errors.New("a fault of penstock itself"), Hint: "please report it"}
		}
	}()
	return f(ctx, in, out)
}

// answer writes the lines of an answer.
type answer struct {
	w     io.Writer
	flush *http.ResponseController
	buf   bytes.Buffer
}

func (a *answer) item(v any) error {
	text, err := plain(v)
	if err != nil {
		return err
	}
	return a.write(line{Item: text})
}

// plain marshals v with <, > and & as they are: bodies are shown as they came.
func plain(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}

func (a *answer) write(l line) error {
	a.buf.Reset()
	enc := json.NewEncoder(&a.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(l); err != nil {
		return err
	}
	if err := a.flush.SetWriteDeadline(time.Now().Add(maxTaking)); err != nil {
		return err
	}
	if _, err := a.w.Write(a.buf.Bytes()); err != nil {
		return err
	}
	return errors.Join(a.flush.Flush(), a.flush.SetWriteDeadline(time.Time{}))
}

func (a *answer) end(res any, err error) {
	l := line{Error: faultOf(err)}
	if err == nil {
		if l.Result, err = plain(res); err != nil {
			l.Error = faultOf(err)
		}
	}
	_ = a.write(l) // where the other side is gone there is nobody to tell
}
