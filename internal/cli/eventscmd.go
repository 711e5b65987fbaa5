package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"penstock.dev/penstock/internal/control/operate"
	"penstock.dev/penstock/internal/entity"
)

func (p *Program) eventsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "events",
		Short: "Look into the histories of entities, verify them, erase persons",
		Long: `The state of an entity is the history of its events, which are never changed. These commands
ask the process that runs on the store, or open it themselves.`,
	}
	cmd.AddCommand(p.eventsListCommand(), p.eventsShowCommand(), p.eventsStateCommand(), p.eventsVerifyCommand(), p.eventsEraseCommand())
	return cmd
}

// entityFlags say which entity is meant.
func entityFlags(cmd *cobra.Command, name, key *string) {
	cmd.Flags().StringVar(name, "entity", "", "the `name` of the entity")
	if key != nil {
		cmd.Flags().StringVar(key, "key", "", "the `key` of one of them")
	}
}

// moment reads a time of a flag: an instant, or how long ago.
func moment(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return time.Now().Add(-d), nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return t, usagef("write it as 2026-11-23T08:00:00Z, or as 2h", "--%s is neither a time nor how long ago: %s", flag, text)
	}
	return t, nil
}

func (p *Program) eventsListCommand() *cobra.Command {
	f := &placeFlags{}
	var q entity.Listing
	var since, until string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List events",
		Long: `Lists events as they were written: those of a key in the order of its versions, else those of
each part of the store in the order of their commits. Personal fields that were erased are
null.`,
		Example: "  penstock events list --entity account --key 4711\n  penstock events list --entity account --since 1h --type Withdrawn",
		Args:    noArgs,
	}
	f.add(cmd, p)
	entityFlags(cmd, &q.Entity, &q.Key)
	cmd.Flags().Int64Var(&q.From, "from", 0, "begin with this `version` of the key")
	cmd.Flags().Int64Var(&q.To, "to", 0, "end with this `version` of the key")
	cmd.Flags().StringVar(&since, "since", "", "what happened at this `time` or later; 2h is two hours ago")
	cmd.Flags().StringVar(&until, "until", "", "what happened by this `time`")
	cmd.Flags().StringVar(&q.Type, "type", "", "events of this `type`")
	cmd.Flags().IntVar(&q.Limit, "limit", 100, "at most `n` events; 0: all")
	out := choiceFlag(cmd, "output", "o", "what is written: json is one event a line", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		p.asJSON = out.value == "json"
		if q.Key != "" && q.Entity == "" {
			return usagef("add --entity account", "--key is the key of an entity, and none is named")
		}
		if (q.From != 0 || q.To != 0) && q.Key == "" {
			return usagef("add --key 4711", "--from and --to are versions of a key, and none is named")
		}
		if q.Since, err = moment("since", since); err != nil {
			return err
		}
		if q.Until, err = moment("until", until); err != nil {
			return err
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			return ops.Events.List(ctx, q, func(e *entity.Listed) error {
				if p.asJSON {
					writeJSONLine(p.Stdout, e)
					return nil
				}
				_, err := fmt.Fprintf(p.Stdout, "%s  %s  %s  %s  %s\n", e.Time.Format("2006-01-02 15:04:05.000Z"), e.ID, versionOf(e), e.Type, e.Data)
				return err
			})
		})
	}
	return cmd
}

// versionOf names an event among those of its entity: 4711/3.
func versionOf(e *entity.Listed) string {
	if e.Version == 0 {
		return e.Key
	}
	return e.Key + "/" + strconv.FormatInt(e.Version, 10)
}

func (p *Program) eventsShowCommand() *cobra.Command {
	f := &placeFlags{}
	var q entity.Listing
	cmd := &cobra.Command{
		Use:     "show",
		Short:   "Show one event, with its hash",
		Example: "  penstock events show --entity account --key 4711 --version 3",
		Args:    noArgs,
	}
	f.add(cmd, p)
	entityFlags(cmd, &q.Entity, &q.Key)
	cmd.Flags().Int64Var(&q.From, "version", 0, "the `version` of the key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if q.Entity == "" || q.Key == "" || q.From < 1 {
			return usagef("write it as --entity account --key 4711 --version 3", "an event is named by --entity, --key and --version")
		}
		q.To = q.From
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			found := false
			err := ops.Events.List(ctx, q, func(e *entity.Listed) error {
				found = true
				return writeJSON(p.Stdout, e)
			})
			if err == nil && !found {
				return usagef("`penstock events list --entity "+q.Entity+" --key "+q.Key+"` lists what is there", "%s %s has no version %d", q.Entity, q.Key, q.From)
			}
			return err
		})
	}
	return cmd
}

func (p *Program) eventsStateCommand() *cobra.Command {
	f := &placeFlags{}
	var q operate.EventState
	var at string
	cmd := &cobra.Command{
		Use:     "state",
		Short:   "Show the state of an entity, as it is or as it was",
		Example: "  penstock events state --entity account --key 4711\n  penstock events state --entity account --key 4711 --as-of 2026-10-31T23:59:59Z",
		Args:    noArgs,
	}
	f.add(cmd, p)
	entityFlags(cmd, &q.Entity, &q.Key)
	cmd.Flags().StringVar(&at, "as-of", "", "a `time` or a version; 2h is two hours ago")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		p.asJSON = out.value == "json"
		if q.Entity == "" || q.Key == "" {
			return usagef("write it as --entity account --key 4711", "a state is named by --entity and --key")
		}
		if q.Version, err = strconv.ParseInt(at, 10, 64); err != nil || q.Version < 1 {
			q.Version = 0
			if q.Time, err = moment("as-of", at); err != nil {
				return err
			}
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			s, err := ops.Events.State(ctx, q)
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, s)
			}
			_, err = fmt.Fprintf(p.Stdout, "version %d\n%s\n", s.Version, s.State)
			return err
		})
	}
	return cmd
}

func (p *Program) eventsVerifyCommand() *cobra.Command {
	f := &placeFlags{}
	var q operate.EventsVerify
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Hold events to their chain of hashes",
		Long: `Each event holds a hash (SHA-256) of the one before it in its part of the store, and the store
knows that of the last. This reads all events and says where one was changed, removed, put in
or put elsewhere. Who can write to the store can also write a whole chain anew: keep the
heads that it prints somewhere else, and compare.

Exit code 0 if all is as it was written, 1 if not.`,
		Example: "  penstock events verify\n  penstock events verify --entity account -o json",
		Args:    noArgs,
	}
	f.add(cmd, p)
	entityFlags(cmd, &q.Entity, nil)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			show, done := p.transient()
			v, err := ops.Events.Verify(ctx, q, func(g operate.EventsProgress) error {
				show("%s: %s events read", g.Entity, count(g.Events))
				return nil
			})
			done()
			if err != nil {
				return err
			}
			return p.showVerified(v)
		})
	}
	return cmd
}

func (p *Program) showVerified(v *operate.EventsVerified) error {
	col := newStyles(p.Stdout, p.Getenv)
	if p.asJSON {
		if err := writeJSON(p.Stdout, v); err != nil {
			return err
		}
	} else {
		var b strings.Builder
		for _, e := range v.Entities {
			for _, at := range e.Broken {
				fmt.Fprintf(&b, "%s entity %s, part %d, position %d: %s\n", col.red("broken:"), e.Entity, at.Part, at.Position, at.Message)
			}
			if len(e.Broken) == 0 {
				fmt.Fprintf(&b, "%s: %s, as they were written\n", col.bold(e.Entity), plural(int(e.Events), "event", "events"))
				for _, h := range e.Heads {
					fmt.Fprintf(&b, "  %s\n", h)
				}
			}
		}
		if len(v.Entities) == 0 {
			b.WriteString("the store has no events\n")
		}
		if _, err := io.WriteString(p.Stdout, b.String()); err != nil {
			return err
		}
	}
	if !v.OK {
		return exitWith(ExitFailed)
	}
	return nil
}

func (p *Program) eventsEraseCommand() *cobra.Command {
	f := &placeFlags{}
	var q operate.EventsErase
	var yes bool
	cmd := &cobra.Command{
		Use:   "erase",
		Short: "Make the personal fields of a subject unreadable, for good",
		Long: `Deletes the key that the personal fields of a subject are encrypted with, and every state that
was made of them. The events stay, and so does their chain of hashes; the fields read as null
from then on. What has left the store (a channel, a view in another database, a backup) is not
reached: see the page on entities.

Asks before it does so. Who did it, and when, is written down in the channel #audit and in the
history of each entity that is part of the subject.`,
		Example: "  penstock events erase --entity account --subject ada@example.com",
		Args:    noArgs,
	}
	f.add(cmd, p)
	entityFlags(cmd, &q.Entity, nil)
	cmd.Flags().StringVar(&q.Subject, "subject", "", "the `subject`, as the entity's `personal.subject` has it")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		if q.Entity == "" || q.Subject == "" {
			return usagef("write it as --entity account --subject ada@example.com", "a subject is named by --entity and --subject")
		}
		q.Who = userName()
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			if !yes {
				if ok, err := p.confirm("make what is personal of " + q.Subject + " in " + q.Entity + " unreadable for good?"); err != nil || !ok {
					return err
				}
			}
			e, err := ops.Events.Erase(ctx, q)
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, e)
			}
			if e.Already {
				_, err = fmt.Fprintf(p.Stdout, "the events of %s hold nothing personal of %s\n", e.Entity, e.Subject)
				return err
			}
			_, err = fmt.Fprintf(p.Stdout, "%s is erased from %s of %s\n", e.Subject, plural(len(e.Keys), "history", "histories"), e.Entity)
			return err
		})
	}
	return cmd
}
