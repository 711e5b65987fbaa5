package exec

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"penstock.dev/penstock"
)

// runner runs a program for a message.
type runner struct {
	command command
	around  *surroundings
	limits  Run
	most    int64 // bytes of output
	discard bool  // nobody reads it
}

// result is what has become of a run.
type result struct {
	output []byte
	errors string // the end of the standard error
	exit   int
}

var errTooMuch = errors.New("too much output")

// stuck is how long the pipes of a process that has ended are waited for: somebody may hold them that got away.
const stuck = time.Second

// run runs the program to its end, and returns an error where it could not be run to its end by itself. An exit code is no
// error here.
func (r *runner) run(ctx context.Context, argv []string, input []byte) (*result, error) {
	var timeout context.CancelFunc = func() {}
	if r.limits.MaxTime > 0 {
		ctx, timeout = context.WithTimeoutCause(ctx, r.limits.MaxTime.Std(), errSlow)
	}
	defer timeout()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out, tail := &bounded{most: r.most, discard: r.discard, over: func() { cancel(errTooMuch) }}, &ending{}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...) //nolint:gosec // the program was allowed, and there is no shell
	cmd.Args[0] = argv[0]
	cmd.Env, cmd.Dir = r.around.environ(), r.around.directory
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), out, tail
	cmd.WaitDelay = stuck
	setGroup(cmd)
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return nil, r.ended(ctx, argv[0], tail)
		}
		return nil, notStarted(argv[0], err)
	}
	awaitExit(cmd.Process.Pid)
	killGroup(cmd.Process.Pid) // whom it has left behind; the process itself is not yet waited for, so that its number is still its own
	err := cmd.Wait()
	if ctx.Err() != nil {
		return nil, r.ended(ctx, argv[0], tail)
	}
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return &result{output: out.b.Bytes(), errors: tail.String()}, nil
	case errors.As(err, &exit):
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			return nil, &penstock.Error{Code: penstock.Internal, Op: "exec", Path: argv[0], Err: fmt.Errorf("it was ended by the signal %s%s", status.Signal(), tail.quoted())}
		}
		return &result{output: out.b.Bytes(), errors: tail.String(), exit: exit.ExitCode()}, nil
	}
	return nil, &penstock.Error{Code: penstock.Unavailable, Op: "exec", Path: argv[0], Err: err}
}

var errSlow = errors.New("slow")

// ended says why a process was killed.
func (r *runner) ended(ctx context.Context, program string, tail *ending) error {
	e := &penstock.Error{Op: "exec", Path: program}
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errTooMuch):
		e.Code, e.Err, e.Hint = penstock.TooLarge, fmt.Errorf("it writes more than %d bytes, and was killed", r.most), "raise maxOutput if it is meant"
	case errors.Is(cause, errSlow):
		e.Code, e.Err, e.Hint = penstock.Timeout, fmt.Errorf("it did not end within %s, and was killed%s", r.limits.MaxTime.Std(), tail.quoted()), "raise maxTime if it is meant"
	case errors.Is(cause, context.DeadlineExceeded):
		e.Code, e.Err = penstock.Timeout, fmt.Errorf("it did not end in time, and was killed%s", tail.quoted())
	default:
		e.Code, e.Err = penstock.Cancelled, cause
	}
	return e
}

// open makes sure that the program is there, so that one which is not ends the run at its start and not each message.
func (r *runner) open() error {
	program := r.command.templates[0].Source // checkCommand has it fixed
	if _, err := exec.LookPath(program); err != nil {
		var why *exec.Error
		if errors.As(err, &why) && !errors.As(err, new(*fs.PathError)) {
			err = &fs.PathError{Op: "exec", Path: program, Err: why.Err}
		}
		return notStarted(program, err)
	}
	return nil
}

// notStarted is the error of a program that can't be started.
func notStarted(program string, err error) error {
	e := &penstock.Error{Code: penstock.Unavailable, Op: "exec", Path: program, Err: err}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		e.Err = fmt.Errorf("it can't be started: %w", pe.Err)
		if pe.Path != program {
			e.Err = fmt.Errorf("it can't be started: %s: %w", pe.Path, pe.Err) // the folder
		}
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		e.Code, e.Hint = penstock.Config, "install it, or mend the path"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOEXEC), errors.Is(err, syscall.EISDIR):
		e.Code, e.Hint = penstock.Config, "make it a program that the user of penstock may run"
	case errors.Is(err, syscall.E2BIG):
		e.Code, e.Hint = penstock.TooLarge, "hand large values over on its standard input"
	}
	return e
}

// sysexits are the meanings of exit codes that sysexits(3) gives.
var sysexits = map[int]penstock.Code{65: penstock.Invalid, 69: penstock.Unavailable, 75: penstock.Unavailable, 77: penstock.Forbidden}

// failure is the error of a run that ended with another exit code than 0.
func (r *runner) failure(program string, res *result) error {
	if res.exit == 0 {
		return nil
	}
	code, ok := r.limits.Codes[strconv.Itoa(res.exit)]
	if !ok {
		if code, ok = sysexits[res.exit]; !ok {
			code = penstock.Unprocessable
		}
	}
	text := fmt.Sprintf("it ended with exit code %d", res.exit)
	if res.errors != "" {
		text += ": " + res.errors
	}
	return penstock.E(code, "exec", program, text)
}

// bounded keeps what is written, up to a limit.
type bounded struct {
	b    bytes.Buffer
	most int64
	over func()

	discard bool
}

// Write implements io.Writer.
func (w *bounded) Write(p []byte) (int, error) {
	if w.discard {
		return len(p), nil
	}
	if w.most > 0 && int64(w.b.Len()+len(p)) > w.most {
		w.over()
		return 0, errTooMuch
	}
	return w.b.Write(p)
}

// ending keeps the end of what is written.
type ending struct {
	b   []byte
	cut bool
}

const tailSize = 1 << 10

// Write implements io.Writer.
func (w *ending) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > tailSize {
		p, w.cut = p[len(p)-tailSize:], true
	}
	if over := len(w.b) + len(p) - tailSize; over > 0 {
		w.b, w.cut = append(w.b[:0], w.b[over:]...), true
	}
	w.b = append(w.b, p...)
	return n, nil
}

// String gives it as one line that can be logged.
func (w *ending) String() string {
	text := printable(string(w.b))
	if w.cut {
		text = "… " + text
	}
	return text
}

func (w *ending) quoted() string {
	if s := w.String(); s != "" {
		return ": " + s
	}
	return ""
}

// printable makes a text of a foreign program safe to show: one line, no control characters.
func printable(s string) string {
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "�"), func(r rune) bool { return unicode.IsControl(r) || unicode.IsSpace(r) }), " ")
}
