package exec

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"

	"penstock.dev/penstock"
)

// NewSource makes the source. The format must have its codec.
func NewSource(c SourceConfig, env penstock.Env) (penstock.Source, error) {
	if c.Format.Codec == nil {
		return nil, errNoCodec
	}
	if l, ok := c.Format.Codec.(penstock.Limiter); ok && c.MaxRecord > 0 {
		c.Format.Codec = l.WithMaxRecord(int(c.MaxRecord))
	}
	if len(c.Command) == 0 {
		return nil, errNoProgram
	}
	around, err := newSurroundings(c.Process, env)
	if err != nil {
		return nil, err
	}
	argv := make([]string, len(c.Command))
	for i, t := range c.Command {
		if argv[i], err = fixed(t, env); err != nil {
			return nil, &penstock.Error{Code: penstock.Config, Op: "exec", Path: t.Pos.String(), Err: err}
		}
	}
	return &source{config: c, env: env, argv: argv, around: around}, nil
}

type source struct {
	config SourceConfig
	env    penstock.Env
	argv   []string
	around *surroundings

	starts  int
	process *process // nil: none runs
	records penstock.Records
}

// process is one run of the program.
type process struct {
	cmd  *exec.Cmd
	out  *os.File
	tail ending        // of the standard error; to be read once it is over
	over chan struct{} // closed when it has been waited for
	err  error         // of Wait
}

var _ penstock.Source = (*source)(nil)

// Open implements penstock.Source: it starts the program.
func (s *source) Open(ctx context.Context) error {
	s.stop()
	if err := ctx.Err(); err != nil {
		return err
	}
	out, outEnd, err := os.Pipe()
	if err != nil {
		return &penstock.Error{Code: penstock.Unavailable, Op: "exec", Path: s.argv[0], Err: err}
	}
	errs, errsEnd, err := os.Pipe()
	if err != nil {
		_, _ = out.Close(), outEnd.Close()
		return &penstock.Error{Code: penstock.Unavailable, Op: "exec", Path: s.argv[0], Err: err}
	}
	cmd := exec.CommandContext(context.Background(), s.argv[0], s.argv[1:]...) //nolint:gosec // the program was allowed, and there is no shell
	cmd.Env, cmd.Dir = s.around.environ(), s.around.directory
	cmd.Stdout, cmd.Stderr = outEnd, errsEnd
	setGroup(cmd)
	err = cmd.Start()
	_, _ = outEnd.Close(), errsEnd.Close() // the process has its own
	if err != nil {
		_, _ = out.Close(), errs.Close()
		return notStarted(s.argv[0], err)
	}
	p := &process{cmd: cmd, out: out, over: make(chan struct{})}
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		s.log(errs, &p.tail)
	}()
	go func() {
		defer close(p.over)
		awaitExit(cmd.Process.Pid)
		killGroup(cmd.Process.Pid) // whom it has left behind
		p.err = cmd.Wait()
		_ = errs.SetReadDeadline(time.Now().Add(stuck)) // somebody who got away may hold it
		<-logged
		_ = errs.Close()
	}()
	s.process = p
	stream := "exec"
	if s.starts++; s.starts > 1 {
		stream += "#" + strconv.Itoa(s.starts) // its offsets begin anew
	}
	s.records = penstock.Records{Framer: s.config.Format.Codec.NewFramer(s.argv[0]), Read: out.Read, Stream: stream, Name: s.argv[0], MetaLine: "line"}
	return nil
}

// log hands the lines of the standard error to the log.
func (s *source) log(r io.Reader, tail *ending) {
	lines := bufio.NewReaderSize(r, 4<<10)
	for {
		line, err := lines.ReadSlice('\n') // longer ones come in pieces
		_, _ = tail.Write(line)
		if text := printable(string(line)); text != "" {
			s.env.Logger.Info(text, "program", s.argv[0], "from", s.env.Name)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// Read implements penstock.Source.
func (s *source) Read(ctx context.Context, into *penstock.Batch) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	p := s.process
	if p == nil {
		return io.EOF
	}
	if err := p.out.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.out.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	err := s.records.Next(into)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return s.finished(ctx, p)
	}
	return &penstock.Error{Code: penstock.CodeOf(err), Op: "exec", Path: s.argv[0], Err: err}
}

// finished says what the end of the output means.
func (s *source) finished(ctx context.Context, p *process) error {
	select {
	case <-p.over:
	case <-ctx.Done():
		return ctx.Err()
	}
	again := !s.env.Once && (s.config.Restart == "always" || p.err != nil && s.config.Restart != "never")
	if p.err == nil && !again {
		return io.EOF
	}
	why := errors.New("it has ended")
	if p.err != nil {
		why = fmt.Errorf("it ended with %w%s", p.err, p.tail.quoted())
	}
	e := &penstock.Error{Code: penstock.Unavailable, Op: "exec", Path: s.argv[0], Err: why}
	if again {
		e.Err = fmt.Errorf("%w: %w", penstock.ErrDisconnected, why)
	}
	return e
}

// Settle implements penstock.Source: a program's output can't be read twice, so there is nothing to remember.
func (*source) Settle(context.Context, []penstock.Outcome) error { return nil }

// Close implements penstock.Source: it asks the program to end, and kills it when its grace is over.
func (s *source) Close(context.Context) error {
	s.stop()
	return nil
}

func (s *source) stop() {
	p := s.process
	if p == nil {
		return
	}
	s.process = nil
	select {
	case <-p.over:
	default:
		p.end(s.config.Grace.Std())
	}
	_ = p.out.Close()
}

// end ends a process that runs.
func (p *process) end(grace time.Duration) {
	pid := p.cmd.Process.Pid
	go func() { // it may write its last words, and wait until somebody has read them
		_ = p.out.SetReadDeadline(time.Time{})
		_, _ = io.Copy(io.Discard, p.out)
	}()
	if grace > 0 {
		askGroup(pid)
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-p.over:
			return
		case <-timer.C:
		}
	}
	_ = p.cmd.Cancel()
	<-p.over
}
