package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// styles colours text, or leaves it alone: colour is only for terminals, and for nobody who set
// NO_COLOR (no-color.org) or has a dumb one.
type styles struct{ on bool }

func newStyles(w io.Writer, getenv func(string) string) styles {
	return styles{on: isTerminal(w) && getenv("NO_COLOR") == "" && getenv("TERM") != "dumb"}
}

func (s styles) wrap(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s styles) bold(text string) string   { return s.wrap("1", text) }
func (s styles) dim(text string) string    { return s.wrap("2", text) }
func (s styles) red(text string) string    { return s.wrap("31", text) }
func (s styles) green(text string) string  { return s.wrap("32", text) }
func (s styles) yellow(text string) string { return s.wrap("33", text) }

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// terminalSize is the size of w in columns and rows; 80 by 24 if it can't be told.
func terminalSize(w io.Writer) (width, height int) {
	if f, ok := w.(*os.File); ok {
		if x, y, err := term.GetSize(int(f.Fd())); err == nil && x > 0 && y > 0 {
			return x, y
		}
	}
	return 80, 24
}
