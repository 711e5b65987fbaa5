package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/edition"
	"penstock.dev/penstock/internal/control"
)

// TestWrittenCommands finds each command line `penstock …` of the documentation and the examples, in code blocks and within
// sentences, and holds its command and its flags to those that there are.
func TestWrittenCommands(t *testing.T) {
	var pages []string
	for _, pattern := range []string{"../../README.md", "../../docs/*.md", "../../examples/README.md", "../../examples/*/README.md", "../../examples/*/*/README.md"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	n := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range written(string(text)) {
			n++
			if wrong := wrongCommand(line); wrong != "" {
				t.Errorf("%s: %s: %s", page, strings.Join(line, " "), wrong)
			}
		}
	}
	if n < 100 {
		t.Errorf("%d command lines were found in %d pages: they are looked for in the wrong way", n, len(pages))
	}
}

func TestWrongCommands(t *testing.T) {
	for text, wrong := range map[string]string{
		"`penstock run -k overlays/kafka --param a=b`":                 "",
		"`penstock run --nosuch`":                                      "there is no flag --nosuch",
		"```sh\n$ penstock dlq lss | wc --lines\n```":                  "there is no command lss",
		"```sh\nX=1 penstock nosuch\n```":                              "there is no command nosuch",
		"```sh\npenstock view \\\n  list --store a.db --nosuch=1\n```": "there is no flag --nosuch",
		"```sh\npenstock eval 'a | b --c' -Z\n```":                     "there is no flag -Z",
		"```sh\npenstock run examples/orders   # --nosuch\n```":        "",
		"`penstock dlq …` and `penstock trace <id>`":                   "",
		"```yaml\n# penstock nosuch\n```":                              "",
	} {
		got := ""
		for _, line := range written(text) {
			got += wrongCommand(line)
		}
		if got != wrong {
			t.Errorf("%s: found %q, want %q", text, got, wrong)
		}
	}
}

var inline = regexp.MustCompile("`(penstock [^`\n]*)`")

// written lists the command lines of a page, cut into words without the program's name.
func written(page string) (out [][]string) {
	fence := false
	shell := false
	for line := range strings.SplitSeq(strings.ReplaceAll(page, "\\\n", " "), "\n") {
		if lang, ok := strings.CutPrefix(strings.TrimSpace(line), "```"); ok {
			fence = !fence
			shell = fence && (lang == "sh" || lang == "console" || lang == "bash" || lang == "shell")
			continue
		}
		switch {
		case shell:
			out = append(out, commandsOf(line)...)
		case !fence:
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				out = append(out, commandsOf(strings.ReplaceAll(m[1], `\|`, " | "))...) // a bar in a table
			}
		}
	}
	return out
}

var assignment = regexp.MustCompile(`^[A-Z_]+=`)

// commandsOf cuts a line of a shell into its commands, and gives those of penstock. What a command prints is none.
func commandsOf(line string) (out [][]string) {
	var words []string
	end := func() {
		for len(words) > 0 && (words[0] == "$" || assignment.MatchString(words[0])) {
			words = words[1:]
		}
		if len(words) > 1 && words[0] == "penstock" {
			out = append(out, words[1:])
		}
		words = nil
	}
	word, quote := "", rune(0)
	cut := func() {
		if word != "" {
			words = append(words, word)
		}
		word = ""
	}
	for _, r := range line {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word += "q" // what is quoted is a value
		case r == '\'' || r == '"':
			quote = r
			word += "q"
		case r == ' ' || r == '\t':
			cut()
		case r == '#' && word == "":
			end()
			return out
		case strings.ContainsRune("|;&", r):
			cut()
			end()
		default:
			word += string(r)
		}
	}
	cut()
	end()
	return out
}

// wrongCommand says what there is not of a command line.
func wrongCommand(args []string) string {
	p := &Program{Service: &control.Service{Registry: edition.Standard()}, Getenv: func(string) string { return "" }}
	cmd := p.root()
	for i, a := range args {
		if a == "--" {
			break
		}
		if !strings.HasPrefix(a, "-") || a == "-" {
			if cmd.HasSubCommands() {
				next := subcommand(cmd, a)
				switch {
				case next != nil:
					cmd = next
				case a == "help" && i == 0, a == "…", strings.HasPrefix(a, "<"):
					return ""
				default:
					return "there is no command " + a
				}
			}
			continue
		}
		cmd.InitDefaultHelpFlag()
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		known := cmd.Flag(name) != nil
		if !strings.HasPrefix(a, "--") {
			known = cmd.Flags().ShorthandLookup(name[:1]) != nil
		}
		if !known && (name != "version" || cmd.Parent() != nil) {
			return "there is no flag " + strings.Repeat("-", len(a)-len(strings.TrimLeft(a, "-"))) + name
		}
	}
	return ""
}

func subcommand(cmd *cobra.Command, name string) *cobra.Command {
	for _, c := range cmd.Commands() {
		if c.Name() == name || c.HasAlias(name) {
			return c
		}
	}
	return nil
}
