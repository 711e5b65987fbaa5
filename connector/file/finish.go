package file

import (
	"path/filepath"
	"slices"
)

// endMember completes the compressed member or frame, so that what stands before is readable whatever becomes of
// what is written after it.
func (o *output) endMember() error {
	if o.z == nil || !o.inMember && o.written > 0 { // an empty file has an empty member
		return nil
	}
	if err := o.z.Close(); err != nil {
		return o.sink.fail(o.writing, err)
	}
	return o.compress()
}

// sync makes what was appended so far durable.
func (o *output) sync() error {
	if o.f == nil || !o.dirty {
		return nil
	}
	if err := o.spill(); err != nil {
		return err
	}
	switch {
	case o.sink.append:
		if err := o.endMember(); err != nil {
			return err
		}
	case o.inMember:
		if err := o.z.Flush(); err != nil {
			return o.sink.fail(o.writing, err)
		}
	}
	return o.fsync()
}

// fsync syncs the file and, where its name is new, the folder.
func (o *output) fsync() error {
	if err := o.f.Sync(); err != nil {
		return o.sink.fail(o.writing, err)
	}
	if o.newName {
		if err := o.sink.fs.SyncDir(filepath.Dir(o.writing)); err != nil {
			return o.sink.fail(filepath.Dir(o.writing), err)
		}
		o.newName = false
	}
	o.durable, o.synced, o.dirty = o.written, o.written, false
	return nil
}

// suspend closes the file for want of room; it goes on with reopen.
func (o *output) suspend() error {
	if err := o.spill(); err != nil {
		return err
	}
	if err := o.endMember(); err != nil {
		return err
	}
	if err := o.fsync(); err != nil {
		return err
	}
	o.buf, o.z = nil, nil // there may be very many
	return o.closeFile()
}

// forget takes the output off the list of those that are open.
func (o *output) forget() {
	s := o.sink
	if i := slices.Index(s.open, o); i >= 0 {
		s.open = slices.Delete(s.open, i, i+1)
	}
	o.f = nil
}

func (o *output) closeFile() error {
	err := o.f.Close()
	o.forget()
	if err != nil {
		return o.sink.fail(o.writing, err)
	}
	return nil
}

// complete ends the file and gives it its name. Only then does it appear under it.
func (o *output) complete() error {
	if o.f == nil {
		if err := o.reopen(); err != nil {
			return err
		}
	}
	o.buf = o.enc.End(o.buf)
	if err := o.spill(); err != nil {
		return err
	}
	if err := o.endMember(); err != nil {
		return err
	}
	if err := o.fsync(); err != nil {
		return err
	}
	if err := o.closeFile(); err != nil {
		return err
	}
	o.begun = false
	if o.writing == o.name {
		return nil
	}
	if err := o.sink.fs.Rename(o.writing, o.name); err != nil {
		return o.sink.fail(o.name, err)
	}
	if err := o.sink.fs.SyncDir(filepath.Dir(o.name)); err != nil {
		return o.sink.fail(filepath.Dir(o.name), err)
	}
	return nil
}

// finish completes what was begun, at the end of the run.
func (o *output) finish() error {
	if !o.begun {
		return nil
	}
	return o.complete()
}

// abandon closes the file after a failure. Of a file that is appended to, what was not flushed is taken back, as far
// as that is possible: it was never acknowledged.
func (o *output) abandon() {
	if o.f == nil {
		return
	}
	if o.sink.append && o.written > o.durable {
		if err := o.f.Truncate(o.durable); err != nil {
			o.sink.logger().Warn("the end of the file is not whole; the next start will take it back", "file", o.writing, "error", err)
		}
	}
	_ = o.f.Close()
	o.forget()
}
