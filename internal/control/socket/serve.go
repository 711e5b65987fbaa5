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
	"time"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
)

// maxReading is how long a request may take to come in.
const maxReading = 10 * time.Second

// maxAtOnce bounds the operations that run at once.
const maxAtOnce = 16

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

// handler maps paths to operations.
func handler(ops *operate.Operations) http.Handler {
	mux := http.NewServeMux()
	at := func(op string, f func(ctx context.Context, in decoder, out *answer) (any, error)) {
		mux.Handle(version+op, operation(f))
	}
	at(opStatus, func(ctx context.Context, _ decoder, _ *answer) (any, error) { return ops.Flows.Status(ctx) })
	at(opDrain, func(ctx context.Context, _ decoder, out *answer) (any, error) {
		return ops.Flows.Drain(ctx, func(d operate.Draining) error { return out.item(d) })
	})
	at(opClusters, func(ctx context.Context, in decoder, _ *answer) (any, error) {
		var r flowName
		if err := in(&r); err != nil {
			return nil, err
		}
		return ops.Dead.Clusters(ctx, r.Flow)
	})
	at(opShow, func(ctx context.Context, in decoder, _ *answer) (any, error) {
		var r letterID
		if err := in(&r); err != nil {
			return nil, err
		}
		return ops.Dead.Show(ctx, r.ID)
	})
	at(opEach, func(ctx context.Context, in decoder, out *answer) (any, error) {
		var r operate.Selection
		if err := in(&r); err != nil {
			return nil, err
		}
		return nothing{}, ops.Dead.Each(ctx, r, func(d *operate.DeadLetter) error { return out.item(d) })
	})
	at(opAct, func(ctx context.Context, in decoder, out *answer) (any, error) {
		var r operate.Action
		if err := in(&r); err != nil {
			return nil, err
		}
		r.Who = who(ctx, r.Who)
		return ops.Dead.Act(ctx, r, func(a operate.Acted) error { return out.item(a) })
	})
	at(opTrace, func(ctx context.Context, in decoder, _ *answer) (any, error) {
		var r operate.TraceQuery
		if err := in(&r); err != nil {
			return nil, err
		}
		return ops.Journal.Trace(ctx, r)
	})
	at(opInfo, func(ctx context.Context, _ decoder, _ *answer) (any, error) { return ops.Store.Info(ctx) })
	at(opCheck, func(ctx context.Context, _ decoder, out *answer) (any, error) {
		return ops.Store.Check(ctx, func(p operate.Progress) error { return out.item(p) })
	})
	at(opCompact, func(ctx context.Context, _ decoder, _ *answer) (any, error) { return ops.Store.Compact(ctx) })
	at(opBackup, func(ctx context.Context, in decoder, out *answer) (any, error) {
		var r operate.BackupRequest
		if err := in(&r); err != nil {
			return nil, err
		}
		return ops.Store.Backup(ctx, r, func(p operate.Progress) error { return out.item(p) })
	})
	at(opDrop, func(ctx context.Context, in decoder, _ *answer) (any, error) {
		var r operate.StepDrop
		if err := in(&r); err != nil {
			return nil, err
		}
		r.Who = who(ctx, r.Who)
		return ops.Remains.DropStep(ctx, r)
	})
	at(opRename, func(ctx context.Context, in decoder, _ *answer) (any, error) {
		var r operate.StepRename
		if err := in(&r); err != nil {
			return nil, err
		}
		r.Who = who(ctx, r.Who)
		return ops.Remains.RenameStep(ctx, r)
	})
	at(opForget, func(ctx context.Context, in decoder, _ *answer) (any, error) {
		var r operate.GroupForget
		if err := in(&r); err != nil {
			return nil, err
		}
		r.Who = who(ctx, r.Who)
		return ops.Remains.Forget(ctx, r)
	})
	slots := make(chan struct{}, maxAtOnce)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c, ok := r.Context().Value(callerKey{}).(caller); ok && c.err != nil {
			http.Error(w, "this socket is its owner's", http.StatusForbidden)
			return
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
	if _, err := a.w.Write(a.buf.Bytes()); err != nil {
		return err
	}
	return a.flush.Flush()
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
