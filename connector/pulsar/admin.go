package pulsar

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"penstock.dev/penstock"
)

// admin asks the administration of a cluster (its REST API, version 2).
type admin struct {
	link *link
	base string
	http *http.Client
}

// admin makes a client for the administration.
func (l *link) admin() (*admin, error) {
	base, err := fixed(l.config.AdminURL, l.env)
	if err != nil {
		return nil, err
	}
	if base == "" {
		return nil, config(l.at(), "say `adminUrl: http://host:8080` in the Connection", "where the cluster is administered is not known, and topics and subscriptions are looked after there")
	}
	if err := checkAdminURL(base); err != nil {
		return nil, config(l.at(), "", "%w", err)
	}
	if _, err := l.open(); err != nil { // who we are
		return nil, err
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, config(l.at(), "", "%w", err)
	}
	t := &http.Transport{
		DialContext: (&net.Dialer{Timeout: l.config.ConnectTimeout.Std()}).DialContext, TLSClientConfig: l.tlsConfig(u.Hostname()), TLSHandshakeTimeout: l.config.ConnectTimeout.Std(),
		DisableKeepAlives: true, Proxy: http.ProxyFromEnvironment,
	}
	return &admin{link: l, base: strings.TrimSuffix(base, "/"), http: &http.Client{Transport: t, Timeout: l.config.Timeout.Std(), CheckRedirect: l.authorize}}, nil
}

// authorize says who we are, also to the broker that another has sent us to.
func (l *link) authorize(req *http.Request, via []*http.Request) error {
	if len(via) > 5 {
		return errors.New("brokers send us to one another")
	}
	data, err := l.who.GetData()
	if err != nil {
		return err
	}
	switch l.who.Name() {
	case "token":
		req.Header.Set("Authorization", "Bearer "+string(data))
	case "basic":
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString(data))
	}
	return nil
}

// maxAnswer bounds an answer.
const maxAnswer = 8 << 20

// do asks, and decodes the answer into out, if that is not nil. what names the object in errors.
func (a *admin) do(ctx context.Context, method, path, what string, in, out any) error {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "pulsar", Path: what, Err: err}
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, body)
	if err != nil {
		return &penstock.Error{Code: penstock.Config, Op: "pulsar", Path: what, Err: err}
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := a.link.authorize(req, nil); err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return failure(err, what+" at "+a.base)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return failure(err, what+" at "+a.base)
	}
	if resp.StatusCode < 300 {
		if out == nil {
			return nil
		}
		if err := json.Unmarshal(text, out); err != nil {
			return &penstock.Error{Code: penstock.Internal, Op: "pulsar", Path: what, Err: fmt.Errorf("the answer of %s can't be read: %w", a.base, err), Hint: "see that `adminUrl` is that of a broker"}
		}
		return nil
	}
	return refused(resp, text, what)
}

// refused makes an Error of an answer that says no.
func refused(resp *http.Response, text []byte, what string) error {
	var said struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal(text, &said) != nil || said.Reason == "" {
		said.Reason = strings.TrimSpace(string(text[:min(len(text), 300)]))
	}
	e := &penstock.Error{Op: "pulsar", Path: what, Err: fmt.Errorf("%s: %s", resp.Status, said.Reason)}
	switch code := resp.StatusCode; {
	case code == http.StatusUnauthorized:
		e.Code, e.Hint = penstock.Unauthenticated, kinds[0].hint
	case code == http.StatusForbidden:
		e.Code, e.Hint = penstock.Forbidden, "let the role administer the tenant, or make the object yourself and say `create: false`"
	case code == http.StatusNotFound:
		e.Code = penstock.NotFound
	case code == http.StatusConflict, code == http.StatusPreconditionFailed:
		e.Code = penstock.Conflict
	case code == http.StatusTooManyRequests:
		e.Code = penstock.Limited
	case code >= 500:
		e.Code = penstock.Unavailable
	default:
		e.Code = penstock.Config
	}
	return e
}

// topicPath is where a topic is administered.
func topicPath(t topic) string {
	return "/admin/v2/persistent/" + url.PathEscape(t.tenant) + "/" + url.PathEscape(t.namespace) + "/" + url.PathEscape(t.name)
}

// missing is how many partitions a topic has that is not there.
const missing = -1

// partitions says how many partitions a topic has, 0 if it is one without, or missing.
func (a *admin) partitions(ctx context.Context, t topic) (int, error) {
	n, err := a.parts(ctx, t)
	if err != nil || n > 0 {
		return n, err
	}
	err = a.do(ctx, http.MethodGet, topicPath(t)+"/subscriptions", "topic "+t.path(), nil, nil)
	switch {
	case err == nil:
		return a.parts(ctx, t) // it may have been made meanwhile, with some
	case penstock.CodeOf(err) == penstock.NotFound:
		return missing, a.namespace(ctx, t)
	}
	return 0, err
}

// parts is partitions where the topic is there; brokers say 0, or that there is nothing, of one without.
func (a *admin) parts(ctx context.Context, t topic) (int, error) {
	var n struct {
		Partitions int `json:"partitions"`
	}
	err := a.do(ctx, http.MethodGet, topicPath(t)+"/partitions?checkAllowAutoCreation=false", "topic "+t.path(), nil, &n)
	if penstock.CodeOf(err) == penstock.NotFound {
		err = nil
	}
	return n.Partitions, err
}

// namespace says that the namespace of a topic is there.
func (a *admin) namespace(ctx context.Context, t topic) error {
	err := a.do(ctx, http.MethodGet, "/admin/v2/namespaces/"+url.PathEscape(t.tenant)+"/"+url.PathEscape(t.namespace), "namespace "+t.tenant+"/"+t.namespace, nil, nil)
	if penstock.CodeOf(err) == penstock.NotFound {
		return config("namespace "+t.tenant+"/"+t.namespace, "make it: pulsar-admin namespaces create "+t.tenant+"/"+t.namespace+" (and its tenant: pulsar-admin tenants create "+t.tenant+"), or check its name", "there is no such namespace")
	}
	return err
}

// subscriptions lists those of a topic; of one with partitions, those that all of them have.
func (a *admin) subscriptions(ctx context.Context, t topic) (names []string, err error) {
	return names, a.do(ctx, http.MethodGet, topicPath(t)+"/subscriptions", "topic "+t.path(), nil, &names)
}

// createTopic makes a topic. That it is there meanwhile is as good.
func (a *admin) createTopic(ctx context.Context, t topic, partitions int) error {
	path, in := topicPath(t), any(nil)
	if partitions > 0 {
		path, in = path+"/partitions", partitions
	}
	err := a.do(ctx, http.MethodPut, path, "topic "+t.path(), in, nil)
	if penstock.CodeOf(err) == penstock.Conflict {
		return nil
	}
	return err
}

// addPartitions raises the number of partitions.
func (a *admin) addPartitions(ctx context.Context, t topic, partitions int) error {
	return a.do(ctx, http.MethodPost, topicPath(t)+"/partitions", "topic "+t.path(), partitions, nil)
}

// createSubscription makes a subscription that begins with the earliest message.
func (a *admin) createSubscription(ctx context.Context, t topic, name string) error {
	earliest := map[string]int64{"ledgerId": -1, "entryId": -1, "partitionIndex": -1}
	err := a.do(ctx, http.MethodPut, topicPath(t)+"/subscription/"+url.PathEscape(name), "subscription "+name+" of topic "+t.path(), earliest, nil)
	if penstock.CodeOf(err) == penstock.Conflict {
		return nil
	}
	return err
}
