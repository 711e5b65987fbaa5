// Command codeccopy reads orders in a binary format, maps each and writes the result, as one does with values of any type: what a flow of Penstock is
// measured beside.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"

	"penstock.dev/penstock/bench/codecdata"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() (err error) {
	format := flag.String("format", codecdata.Protobuf, "protobuf or avro")
	from, to := flag.String("from", "", "`file` that is read"), flag.String("to", "", "`file` that is written")
	flag.Parse()
	in, err := os.Open(*from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.Create(*to)
	if err != nil {
		return err
	}
	return errors.Join(codecdata.Copy(in, out, *format), out.Sync(), out.Close())
}
