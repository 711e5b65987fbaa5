package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	addr := flag.String("listen", "127.0.0.1:8090", "where it listens")
	flag.Parse()
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", *addr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "payroll system:", err)
		os.Exit(1)
	}
	fmt.Printf("the payroll system listens on http://%s\n", l.Addr())
	s := &http.Server{Handler: newPayroll().handler(), ReadHeaderTimeout: 5 * time.Second}
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		fmt.Fprintln(os.Stderr, "payroll system:", err)
		os.Exit(1)
	}
}
