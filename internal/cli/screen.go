package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
)

// screen is standard error while a run lasts: a block of lines at the end that is rewritten in
// place, and everything else (logs, messages) above it. It is safe for concurrent use.
type screen struct {
	mu    sync.Mutex
	w     io.Writer
	block []string // what is shown now
}

// Write puts text above the block.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.block) == 0 {
		return s.w.Write(b)
	}
	block := s.block
	var out strings.Builder
	s.erase(&out)
	out.Write(b)
	s.put(&out, block)
	_, err := io.WriteString(s.w, out.String())
	return len(b), err
}

// show replaces the block. No lines takes it away.
func (s *screen) show(lines []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out strings.Builder
	s.erase(&out)
	s.put(&out, lines)
	_, _ = io.WriteString(s.w, out.String()) // where standard error is gone there is nobody to tell
}

func (s *screen) erase(out *strings.Builder) {
	if n := len(s.block); n > 0 {
		fmt.Fprintf(out, "\x1b[%dA\r\x1b[J", n)
	}
	s.block = nil
}

func (s *screen) put(out *strings.Builder, lines []string) {
	for _, l := range lines {
		out.WriteString(l + "\n")
	}
	s.block = lines
}
