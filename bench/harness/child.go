package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Child is a program that runs beside others, and may be killed. Its methods are for one goroutine.
type Child struct {
	cmd   *exec.Cmd
	said  *tail
	ended chan error // gives, once, how it has ended
	over  bool
	err   error
}

// Start starts a program in a folder ("": this one). hear is given each line of its standard output when it comes, one at a time.
func Start(folder string, argv []string, hear func(line []byte)) (*Child, error) {
	c := &Child{said: &tail{}, ended: make(chan error, 1)}
	c.cmd = exec.Command(argv[0], argv[1:]...) //nolint:noctx,gosec // it is ended by Kill or Stop
	c.cmd.Dir, c.cmd.Stdout, c.cmd.Stderr = folder, &lines{hear: hear}, c.said
	c.cmd.WaitDelay = 10 * time.Second
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { c.ended <- c.cmd.Wait() }()
	return c, nil
}

// Ended is nil while the program runs; then it says how it ended, with the last lines of its standard error.
func (c *Child) Ended() error {
	if !c.over {
		select {
		case err := <-c.ended:
			c.end(err)
		default:
			return nil
		}
	}
	return fmt.Errorf("%s: %w\n%s", c.cmd.Path, errors.Join(errors.New("it has ended"), c.err), lastLines(c.said.text()))
}

func (c *Child) end(err error) { c.over, c.err = true, err }

// Kill ends the program with SIGKILL, and says when that was asked for. It returns when the program is gone, and everything that it has printed was heard.
func (c *Child) Kill() time.Time {
	at := time.Now()
	if !c.over {
		_ = c.cmd.Process.Kill() // it may have ended
		c.end(<-c.ended)
	}
	return at
}

// Stop interrupts the program, as by Ctrl-C, and waits until it has ended by itself. An end that is not a good one, or none within half a minute, is an error.
func (c *Child) Stop() error {
	if err := c.Ended(); err != nil {
		return err
	}
	_ = c.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case err := <-c.ended:
		c.end(err)
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			if s, ok := exit.Sys().(syscall.WaitStatus); ok && s.Signaled() && s.Signal() == syscall.SIGINT {
				return nil // it knows no better end
			}
		}
		if err != nil {
			return c.Ended()
		}
		return nil
	case <-time.After(30 * time.Second):
		c.Kill()
		return fmt.Errorf("%s does not end\n%s", c.cmd.Path, lastLines(c.said.text()))
	}
}
