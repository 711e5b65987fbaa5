package cli

import (
	"os"
)

// keys reads single keys from the terminal, and gives each to f, until what it returns is called. Where standard input is none, or the
// system can't read keys without Enter, nothing is read.
func (p *Program) keys(f func(key byte)) (stop func()) {
	in, ok := p.Stdin.(*os.File)
	if !ok || !isTerminal(in) {
		return func() {}
	}
	restore, err := singleKeys(int(in.Fd()))
	if err != nil {
		return func() {}
	}
	go func() { // a read of a terminal can't be interrupted: it ends with the program
		var b [1]byte
		for {
			if n, err := in.Read(b[:]); n == 0 || err != nil {
				return
			}
			f(b[0])
		}
	}()
	return restore
}
