package cli

import (
	"context"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/control/operate"
)

func (p *Program) storeCommand() *cobra.Command {
	return p.group(&cobra.Command{
		Use:   "store",
		Short: "Look after the store: info, check, compact, drop, rename, forget",
		Long: `The store is one file with channels, positions, the state of steps and dead letters. These
commands ask the process that runs on it, or open it themselves.`,
	}, p.storeInfoCommand(), p.storeCheckCommand(), p.storeCompactCommand(), p.storeDropCommand(), p.storeRenameCommand(), p.storeForgetCommand())
}

func (p *Program) storeInfoCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{Use: "info", Short: "Say what the store holds, and how large it is", Args: noArgs}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			i, err := ops.Store.Info(ctx)
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, i)
			}
			return p.showStore(i)
		})
	}
	return cmd
}

func (p *Program) showStore(i *operate.StoreInfo) error {
	col := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	fmt.Fprintf(&b, "%s, version %d\n", col.bold(i.Path), i.Version)
	if i.DiskFree == math.MaxInt64 { // a server's
		fmt.Fprintf(&b, "  tables and indices %s\n", size(i.FileBytes))
	} else {
		fmt.Fprintf(&b, "  file %s (%s of it free to be used again), log %s, free on the disk %s\n", size(i.FileBytes), size(i.FreeBytes), size(i.WALBytes), size(i.DiskFree))
	}
	show := func(rows [][]string, right []bool) {
		if len(rows) == 1 {
			return
		}
		b.WriteByte('\n')
		for n, line := range table(rows, right) {
			if n == 0 {
				line = col.bold(line)
			}
			b.WriteString(line + "\n")
		}
	}
	rows := [][]string{{"channel", "messages", "size", "next", "oldest"}}
	for _, c := range i.Channels {
		rows = append(rows, []string{c.Channel, count(c.Messages), size(c.Bytes), count(c.Next), stamp(c.Oldest)})
	}
	show(rows, []bool{false, true, true, true, false})
	rows = [][]string{{"channel", "read by", "lag", ""}}
	for _, c := range i.Channels {
		for _, g := range c.Groups {
			rows = append(rows, []string{c.Channel, g.Group, behind(g.Lag, g.Given), groupNote(c.Channel, g)})
		}
	}
	show(rows, []bool{false, false, true, false})
	rows = [][]string{{"durable step", "state", "size", "waiting behind it", "kept as"}}
	for _, s := range i.Steps {
		rows = append(rows, []string{s.Step, count(s.Entries), size(s.Bytes), count(s.Waiting), s.Keyed})
	}
	show(rows, []bool{false, true, true, true, false})
	rows = [][]string{{"state", "entries", "size"}}
	for _, s := range i.Spaces {
		rows = append(rows, []string{s.Space, count(s.Entries), size(s.Bytes)})
	}
	show(rows, []bool{false, true, true})
	_, err := io.WriteString(p.Stdout, b.String())
	return err
}

// behind writes a lag, and how much of it was given back.
func behind(lag, given int64) string {
	if given == 0 {
		return count(lag)
	}
	return fmt.Sprintf("%s (%s given back)", count(lag), count(given))
}

// groupNote says what is remarkable of a group.
func groupNote(channel string, g operate.GroupInfo) string {
	switch {
	case g.Unread:
		return "no flow reads it: penstock store forget " + channel + " " + g.Group
	case g.Holds:
		return "keeps what others have read"
	}
	return ""
}

func (p *Program) storeCheckCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read everything in the store and say what is damaged",
		Long:  "Reads everything in the store: the file's own structure, and the sums of what is in it.\n\nExit code 0 if all is well, 1 if something is damaged.",
		Args:  noArgs,
	}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			progress, done := p.copying("read")
			c, err := ops.Store.Check(ctx, progress)
			done()
			if err != nil {
				return err
			}
			return p.showStoreCheck(c)
		})
	}
	return cmd
}

// copying shows how much of a store has been read or copied.
func (p *Program) copying(what string) (progress func(operate.Progress) error, done func()) {
	show, done := p.transient()
	return func(g operate.Progress) error {
		show("%s of %s %s", size(g.Bytes), size(g.Total), what)
		return nil
	}, done
}

// maxProblems is how many problems of a store are shown.
const maxProblems = 50

func (p *Program) showStoreCheck(c *operate.StoreCheck) error {
	col := newStyles(p.Stdout, p.Getenv)
	var b strings.Builder
	if p.asJSON {
		if err := writeJSON(p.Stdout, c); err != nil {
			return err
		}
	} else {
		for i, problem := range c.Problems {
			if i == maxProblems {
				fmt.Fprintf(&b, "… and %s more\n", count(int64(len(c.Problems)-i)))
				break
			}
			b.WriteString(col.red("damaged: ") + problem + "\n")
		}
		if c.OK {
			fmt.Fprintf(&b, "%s: %s and %s of state, %s\n", col.green("all is well"), plural(int(c.Messages), "message", "messages"), plural(int(c.Entries), "entry", "entries"), size(c.Bytes))
		} else {
			b.WriteString(col.dim("stop the process, keep a copy of the file, and bring a backup back: penstock backup restore --force; then look at the disk") + "\n")
		}
		if c.Unchecked != "" {
			b.WriteString(col.yellow("not checked: ") + c.Unchecked + "\n")
		}
		if _, err := io.WriteString(p.Stdout, b.String()); err != nil {
			return err
		}
	}
	if !c.OK {
		return exitWith(ExitFailed)
	}
	return nil
}

func (p *Program) storeCompactCommand() *cobra.Command {
	f := &placeFlags{}
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Give free space in the store's file back to the disk",
		Long: `What is dropped from the store leaves room in its file that is used again; the file does not
shrink by itself. This rewrites it without that room. It needs as much free space on the
disk as the store has content, and while it works nothing else is written.`,
		Args: noArgs,
	}
	f.add(cmd, p)
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p.asJSON = out.value == "json"
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			c, err := ops.Store.Compact(ctx)
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, c)
			}
			_, err = fmt.Fprintf(p.Stdout, "the file was %s and is %s\n", size(c.Before), size(c.After))
			return err
		})
	}
	return cmd
}

func (p *Program) backupCommand() *cobra.Command {
	return p.group(&cobra.Command{
		Use:   "backup",
		Short: "Back the store up: create, verify, restore",
		Long: `A backup is a store of its own: one file, which can be verified, kept elsewhere, and
restored in place of a store that is lost.`,
	}, p.backupCreateCommand(), p.backupVerifyCommand(), p.backupRestoreCommand())
}

func (p *Program) backupCreateCommand() *cobra.Command {
	f := &placeFlags{}
	var throttle string
	cmd := &cobra.Command{
		Use:     "create FILE",
		Short:   "Copy the store into a new file, while it is used",
		Long:    "Copies the store as it is at one moment into a new file, while flows go on, and verifies the copy.",
		Example: "  penstock backup create /backup/orders-$(date +%F).db --rate 20Mi",
		Args:    exactlyOne("the file that is written"),
	}
	f.add(cmd, p)
	cmd.Flags().StringVar(&throttle, "rate", "", "how many bytes a second at most, as `20Mi` (default: what leaves flows their share of the disk)")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		r := operate.BackupRequest{}
		if throttle != "" {
			n, err := penstock.ParseSize(throttle)
			if err != nil || n <= 0 {
				return usagef("write it as --rate 20Mi", "--rate %s is no number of bytes", throttle)
			}
			r.Rate = int64(n)
		}
		var err error
		if r.Path, err = filepath.Abs(args[0]); err != nil {
			return fileError("find", args[0], err)
		}
		return p.operate(cmd, f, func(ctx context.Context, ops *operate.Operations) error {
			progress, done := p.copying("copied")
			b, err := ops.Store.Backup(ctx, r, progress)
			done()
			if err != nil {
				return err
			}
			if p.asJSON {
				return writeJSON(p.Stdout, b)
			}
			_, err = fmt.Fprintf(p.Stdout, "%s: %s, verified, in %s\n", args[0], size(b.Bytes), elapsed(b.Seconds))
			return err
		})
	}
	return cmd
}

func (p *Program) backupVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "Open a backup and check everything in it",
		Long:  "Opens a backup and reads everything in it.\n\nExit code 0 if all is well, 1 if something is damaged.",
		Args:  exactlyOne("the file of a backup"),
	}
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		ctx, stop := p.interruptible(cmd.Context())
		defer stop()
		progress, done := p.copying("read")
		c, err := p.Service.VerifyBackup(ctx, args[0], progress)
		done()
		if err != nil {
			return err
		}
		return p.showStoreCheck(c)
	}
	return cmd
}

func (p *Program) backupRestoreCommand() *cobra.Command {
	f := &placeFlags{}
	var force bool
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in place of the store",
		Long: `Verifies a backup and puts it in the place of the store. No process may run on it. A store that
is there is kept under another name, and only with --force.

What came after the backup was made is not in it: sources are read again from where they
were then, where they can.`,
		Example: "  penstock backup restore /backup/orders-2026-11-23.db --force",
		Args:    exactlyOne("the file of a backup"),
	}
	f.add(cmd, p)
	cmd.Flags().BoolVar(&force, "force", false, "also where there is a store")
	out := choiceFlag(cmd, "output", "o", "what is written", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		p.asJSON = out.value == "json"
		at, err := f.place(p.Getenv)
		if err != nil {
			return err
		}
		ctx, stop := p.interruptible(cmd.Context())
		defer stop()
		progress, done := p.copying("copied")
		r, err := p.Service.RestoreBackup(ctx, at, args[0], force, progress)
		done()
		if err != nil {
			return err
		}
		if p.asJSON {
			return writeJSON(p.Stdout, r)
		}
		line := fmt.Sprintf("%s is %s now", r.Store, args[0])
		if r.Kept != "" {
			line += "; what was there is " + r.Kept
		}
		_, err = fmt.Fprintln(p.Stdout, line)
		return err
	}
	return cmd
}
