package script

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Tables hold references to functions. They are no part of the linear memory, and would be no part of its limit.
const (
	maxTable  = 100_000 // elements of one
	maxTables = 16
)

var (
	errNoModule = errors.New("it is no WebAssembly module")
	errCut      = errors.New("it is no WebAssembly module, or a part of it is missing")
)

// boundTables gives a module whose tables can't grow beyond maxTable. All else is as it was; what is wrong with it is for the compiler to
// find.
func boundTables(code []byte) ([]byte, error) {
	if len(code) < 8 || string(code[:4]) != "\x00asm" {
		return nil, errNoModule
	}
	if version := binary.LittleEndian.Uint32(code[4:]); version != 1 {
		return nil, fmt.Errorf("it is a WebAssembly module of version %d, or a component; version 1 is wanted", version)
	}
	out := append([]byte(nil), code[:8]...)
	for rest := code[8:]; len(rest) > 0; {
		id := rest[0]
		size, n := leb(rest[1:])
		if n == 0 || uint64(len(rest)-1-n) < size {
			return nil, errCut
		}
		head, body := rest[:1+n], rest[1+n:1+n+int(size)] //nolint:gosec // not beyond the slice
		rest = rest[1+n+int(size):]                       //nolint:gosec // the same
		if id != tableSection {
			out = append(append(out, head...), body...)
			continue
		}
		bounded, err := tables(body)
		if err != nil {
			return nil, err
		}
		out = append(binary.AppendUvarint(append(out, id), uint64(len(bounded))), bounded...)
	}
	return out, nil
}

const tableSection = 4

// tables gives the section of tables with a bound for each: how many, and of each the type and the limits (WebAssembly Core Specification 2.0, 5.5.7).
func tables(body []byte) ([]byte, error) {
	count, n := leb(body)
	if n == 0 {
		return nil, errCut
	}
	if count > maxTables {
		return nil, fmt.Errorf("it has %d tables, more than %d", count, maxTables)
	}
	out := append([]byte(nil), body[:n]...)
	body = body[n:]
	for range count {
		if len(body) < 2 {
			return nil, errCut
		}
		kind, flag := body[0], body[1]
		least, n := leb(body[2:])
		if n == 0 || flag > 1 {
			return nil, errCut
		}
		body = body[2+n:]
		most := uint64(maxTable)
		if flag == 1 {
			own, n := leb(body)
			if n == 0 {
				return nil, errCut
			}
			body = body[n:]
			most = min(most, own)
		}
		if least > maxTable {
			return nil, fmt.Errorf("it has a table of %d elements, more than %d", least, maxTable)
		}
		out = binary.AppendUvarint(append(out, kind, 1), least)
		out = binary.AppendUvarint(out, most)
	}
	return append(out, body...), nil
}

// leb reads an unsigned number of 32 bits, and how many bytes it has; 0 where there is none.
func leb(b []byte) (uint64, int) {
	v, n := binary.Uvarint(b[:min(len(b), 5)])
	if n <= 0 || v >= 1<<32 {
		return 0, 0
	}
	return v, n
}
