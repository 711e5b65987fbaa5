package operate

import (
	"cmp"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"penstock.dev/penstock"
	"penstock.dev/penstock/internal/run"
	"penstock.dev/penstock/internal/store"
	"penstock.dev/penstock/internal/store/channel"
)

// Info implements [Keeper].
func (d *direct) Info(ctx context.Context) (*StoreInfo, error) {
	s, err := d.store()
	if err != nil {
		return nil, err
	}
	st := s.Stats()
	out := &StoreInfo{Path: d.c.Path, FileBytes: st.FileBytes, WALBytes: st.WALBytes, FreeBytes: st.FreeBytes, DiskFree: st.DiskFree,
		Channels: []ChannelInfo{}, Spaces: []SpaceInfo{}, Steps: []StepInfo{}}
	if d.c.File != nil {
		out.Version = d.c.File.Version()
	}
	err = s.View(ctx, func(v store.View) error {
		all, err := v.Log().Channels()
		if err != nil {
			return err
		}
		for _, b := range all {
			groups, err := d.groupInfos(v, b)
			if err != nil {
				return err
			}
			out.Channels = append(out.Channels, ChannelInfo{Channel: b.Channel, Messages: b.Next - b.First, Bytes: b.Bytes, Next: b.Next, Oldest: b.Oldest, Groups: groups})
		}
		spaces, err := v.State().Spaces("")
		for _, sp := range spaces {
			out.Spaces = append(out.Spaces, SpaceInfo{Space: sp.Name, Entries: sp.Entries, Bytes: sp.Bytes})
		}
		if err != nil {
			return err
		}
		return eachEntry(v, run.StepSpace, func(e store.Entry) error {
			s := StepInfo{Step: string(e.Key), Keyed: string(e.Value)}
			if i := slices.IndexFunc(spaces, func(sp store.Space) bool { return sp.Name == s.Step }); i >= 0 {
				s.Entries, s.Bytes = spaces[i].Entries, spaces[i].Bytes
			}
			var err error
			s.Waiting, err = waiting(v, s.Step)
			out.Steps = append(out.Steps, s)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// groupInfos says how far the groups of a channel are.
func (d *direct) groupInfos(v store.View, b store.Bounds) ([]GroupInfo, error) {
	all, err := channel.Cursors(v, b.Channel)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	low := slices.MinFunc(all, func(a, b channel.Cursor) int { return cmp.Compare(a.Low, b.Low) }).Low
	high := slices.MaxFunc(all, func(a, b channel.Cursor) int { return cmp.Compare(a.Low, b.Low) }).Low
	var out []GroupInfo
	for _, c := range all {
		out = append(out, GroupInfo{Group: c.Group, Done: c.Low, Lag: min(c.Left, b.Next-b.First) + c.Given, Given: c.Given,
			Holds: c.Low == low && low < high, Unread: d.unread(b.Channel, c.Group)})
	}
	return out, nil
}

// unread says that a channel of the configuration has a group with which no flow reads it.
func (d *direct) unread(name, group string) bool {
	groups, known := d.names().Groups[name]
	return known && !Reads(groups, group)
}

// waiting counts the messages that have left a step, and are not done behind it.
func waiting(v store.View, step string) (int64, error) {
	b, err := v.Log().Bounds(step)
	if err != nil {
		return 0, err
	}
	all, err := channel.Cursors(v, step)
	if len(all) == 0 {
		return b.Next - b.First, err
	}
	var n int64
	for _, c := range all {
		n += min(c.Left, b.Next-b.First) + c.Given
	}
	return n, err
}

// file gives the store, and what can be done with its file.
func (d *direct) file(op string) (store.Store, File, error) {
	s, err := d.store()
	if err == nil && d.c.File == nil {
		err = &penstock.Error{Code: penstock.Config, Op: op, Path: d.c.Path, Err: errors.New("this store has no file")}
	}
	return s, d.c.File, err
}

// Check implements [Keeper].
func (d *direct) Check(ctx context.Context, progress func(Progress) error) (*StoreCheck, error) {
	s, f, err := d.file("store check")
	if err != nil {
		return nil, err
	}
	return f.Check(ctx, s, told(progress))
}

// told gives progress as pairs of numbers.
func told(progress func(Progress) error) func(done, total int64) error {
	return func(done, total int64) error {
		if progress == nil {
			return nil
		}
		return progress(Progress{Bytes: done, Total: total})
	}
}

// Compact implements [Keeper].
func (d *direct) Compact(ctx context.Context) (*Compacted, error) {
	s, f, err := d.file("store compact")
	if err != nil {
		return nil, err
	}
	out := &Compacted{Before: s.Stats().FileBytes}
	if err := f.Compact(ctx, s); err != nil {
		return nil, err
	}
	out.After = s.Stats().FileBytes
	return out, nil
}

// Backup implements [Keeper].
func (d *direct) Backup(ctx context.Context, b BackupRequest, progress func(Progress) error) (*Backup, error) {
	if !filepath.IsAbs(b.Path) || b.Rate < 0 {
		return nil, &penstock.Error{Code: penstock.Invalid, Op: "backup", Path: b.Path, Err: errors.New("a backup wants an absolute path, and a rate that is not below zero")}
	}
	s, f, err := d.file("backup")
	if err != nil {
		return nil, err
	}
	began := d.c.Clock.Now()
	err = f.Backup(ctx, s, b.Path, b.Rate, told(progress))
	if err != nil {
		return nil, err
	}
	out := &Backup{Path: b.Path, Seconds: d.c.Clock.Now().Sub(began).Seconds()}
	if info, err := os.Stat(b.Path); err == nil {
		out.Bytes = info.Size()
	}
	return out, nil
}
