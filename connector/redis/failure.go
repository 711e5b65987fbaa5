package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/redis/rueidis"

	"penstock.dev/penstock"
)

// kind is what an error of the server means, by the word that it begins with.
type kind struct {
	code penstock.Code
	hint string
}

// kinds are the error codes of Redis: the first word of an error reply.
var kinds = map[string]kind{
	"WRONGPASS":   {penstock.Unauthenticated, "check `user` and `password` of the Connection, and what the server knows of them (ACL LIST)"},
	"NOAUTH":      {penstock.Unauthenticated, "the server wants a password: give `password: { secret: … }`"},
	"NOPERM":      {penstock.Forbidden, "give the user the permission (ACL SETUSER …)"},
	"WRONGTYPE":   {penstock.Config, "there is something else under this key: see what (TYPE key), and take another key"},
	"OOM":         {penstock.Limited, "the server's maxmemory is used up: raise it, trim streams (`maxLen`, `maxAge`), or let keys expire"},
	"NOREPLICAS":  {penstock.Unavailable, "the server has fewer replicas than its min-replicas-to-write"},
	"LOADING":     {penstock.Unavailable, ""},
	"BUSY":        {penstock.Unavailable, "a script runs on the server"},
	"TRYAGAIN":    {penstock.Unavailable, ""},
	"CLUSTERDOWN": {penstock.Unavailable, "a part of the cluster is down (CLUSTER INFO)"},
	"MASTERDOWN":  {penstock.Unavailable, "the server is a replica whose master is away"},
	"READONLY":    {penstock.Unavailable, "the server is a replica: connect to the master, or say `sentinel` or `cluster: true`"},
	"MISCONF":     {penstock.Unavailable, "the server can't write to its disk, and refuses writes therefore; its log says why"},
	"UNBLOCKED":   {penstock.Unavailable, ""},
	"NOGROUP":     {penstock.Unavailable, ""},
	"MOVED":       {penstock.Config, "the server is a node of a cluster: say `cluster: true`"},
	"CROSSSLOT":   {penstock.Config, "keys that are used together have to be on one node of the cluster: give them a common part in braces, {shop}:a and {shop}:b"},
	"EXECABORT":   {penstock.Limited, ""},
	"DENIED":      {penstock.Forbidden, "the server is in protected mode: set it up to be reached from here"},
}

const ourCertificate = "the server refuses our certificate: see that `tls: { certificate, privateKey }` are given, valid, and of an authority that it trusts"

// failure makes an Error of what the client says of the connection.
func (l *link) failure(err error) error { return failure(err, "connection "+l.name) }

// failure makes an Error of what the client says.
func failure(err error, at string) error {
	if err == nil {
		return nil
	}
	var known *penstock.Error
	if errors.As(err, &known) {
		return err
	}
	out := &penstock.Error{Code: penstock.Unavailable, Op: "redis", Path: at, Err: err}
	if said, ok := rueidis.IsRedisErr(err); ok {
		answered(out, said.Error())
		return out
	}
	var untrusted *tls.CertificateVerificationError
	var alert tls.AlertError
	var header tls.RecordHeaderError
	var network net.Error
	switch {
	case errors.Is(err, context.Canceled):
		out.Code = penstock.Cancelled
	case errors.Is(err, context.DeadlineExceeded):
		out.Code, out.Err = penstock.Timeout, errors.New("the server has not answered in time")
	case errors.As(err, &untrusted):
		out.Code, out.Hint = penstock.Config, "the server's certificate is not trusted: give the authority that it comes from in `tls: { ca }`, and the name in it in `serverName`"
	case errors.As(err, &alert):
		out.Code, out.Hint = penstock.Unauthenticated, ourCertificate
	case errors.As(err, &header):
		out.Code, out.Hint = penstock.Config, "the server has no TLS there: begin `url` with redis://, or set it up"
	case errors.Is(err, rueidis.ErrNoAddr):
		out.Code = penstock.Config
	case errors.Is(err, io.EOF):
		out.Err = errors.New("the connection broke")
	case errors.As(err, &network) && network.Timeout():
		out.Code = penstock.Timeout
	}
	return out
}

// answered fills in what an error reply means.
func answered(out *penstock.Error, said string) {
	word, rest, _ := strings.Cut(said, " ")
	if word == "" || strings.ToUpper(word) != word { // the client takes ERR away
		word, rest = "ERR", said
	}
	k, ok := kinds[word]
	switch {
	case ok:
		out.Code, out.Hint = k.code, k.hint
	case word != "ERR":
		out.Code = penstock.Internal
	case strings.Contains(rest, "unknown command"):
		out.Code, out.Hint = penstock.Config, "the server is too old for it (6.2 is needed), or has renamed it"
	case strings.Contains(rest, "not an integer"), strings.Contains(rest, "not a valid float"), strings.Contains(rest, "would overflow"), strings.Contains(rest, "hash value is not"):
		out.Code = penstock.Unprocessable
	case strings.Contains(rest, "max number of clients"):
		out.Code, out.Hint = penstock.Unavailable, "the server takes no more connections: raise its maxclients"
	case strings.Contains(rest, "AUTH"), strings.Contains(rest, "without any password"):
		out.Code, out.Hint = penstock.Unauthenticated, "the server knows no password: leave `password` out, or set one there"
	case strings.Contains(rest, "DB index"), strings.Contains(rest, "SELECT is not allowed"):
		out.Code, out.Hint = penstock.Config, "the server has no such database: change `db`"
	case strings.Contains(rest, "string exceeds maximum allowed size"), strings.Contains(rest, "too big"):
		out.Code = penstock.TooLarge
	default:
		out.Code = penstock.Unprocessable
	}
	out.Unsent = true
	out.Err = errors.New(said)
	if word == "NOGROUP" {
		out.Err = fmt.Errorf("the stream or its group is gone: %s", said)
	}
}

// groupGone says that a stream or its group was deleted.
func groupGone(err error) bool {
	said, ok := rueidis.IsRedisErr(err)
	return ok && (strings.HasPrefix(said.Error(), "NOGROUP") || strings.HasPrefix(said.Error(), "UNBLOCKED"))
}

// errOver says that a run with --once has read what is there. A connection that breaks says io.EOF, too.
var errOver = errors.New("there is nothing more")

// end is what a Read says where reading has ended.
func end(err error, failure func(error) error) error {
	if errors.Is(err, errOver) {
		return io.EOF
	}
	return failure(err)
}
