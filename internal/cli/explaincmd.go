package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control"
)

func (p *Program) explainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain WORD",
		Short: "Say what a word of the language means",
		Long: `Explains a kind and the fields below it, a verb, a connector, a codec, a function or an
error code, as the reference has it. Without a word it lists those that it knows.`,
		Example: "  penstock explain flow\n  penstock explain flow.onError.retry\n  penstock explain aggregate\n  penstock explain file\n  penstock explain timeout",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("write the fields with points: penstock explain flow.onError", "explain takes one word, and here are %d", len(args))
			}
			return nil
		},
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return p.completeWord(typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		},
	}
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		if len(args) == 0 {
			words, err := p.Service.Topics()
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, words)
			}
			return p.writeResult("", []byte(strings.Join(words, "\n")+"\n"))
		}
		topics, err := p.Service.Explain(args[0])
		if err != nil {
			return err
		}
		if p.asJSON {
			return writeJSON(p.Stdout, topics)
		}
		return p.writeResult("", []byte(p.topicText(topics)))
	}
	return cmd
}

// completeWord gives the words that explain knows, or the fields below the one that is typed.
func (p *Program) completeWord(typed string) []string {
	at := strings.LastIndexByte(typed, '.')
	if at < 0 {
		words, _ := p.Service.Topics() // without them there is nothing to complete
		return words
	}
	topics, _ := p.Service.Explain(typed[:at]) // nor without these
	var out []string
	for _, t := range topics {
		for _, f := range t.Fields {
			out = append(out, typed[:at+1]+f.Name)
		}
	}
	return out
}

func (p *Program) topicText(topics []control.Topic) string {
	width := 100
	if isTerminal(p.Stdout) {
		width, _ = terminalSize(p.Stdout)
		width = min(width, 100)
	}
	var texts []string
	for i := range topics {
		texts = append(texts, topics[i].Text(width))
	}
	return strings.Join(texts, "\n")
}
