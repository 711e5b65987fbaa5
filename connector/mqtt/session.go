package mqtt

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	sessions "github.com/eclipse/paho.golang/paho/session"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/gorilla/websocket"

	"penstock.dev/penstock"
	"penstock.dev/penstock/wire"
)

// session is a client as the broker knows it, over all of its connections.
type session struct {
	config *ConnectionConfig
	env    penstock.Env
	at     string // for errors
	id     string
	place  place
	user   string
	will   *paho.WillMessage

	receive uint16        // how many messages of QoS 1 and 2 the broker may send without their being acknowledged
	largest penstock.Size // packet that it may send; 0 is any
	expiry  time.Duration // how long the broker keeps the session
	manual  bool          // what is received is acknowledged when it is settled

	state *state.State
	fresh bool // the next connection begins a new session
}

// newSession makes the client of one source or sink. Nothing is dialled yet.
func newSession(ref penstock.ConnectionRef, env penstock.Env) (*session, error) {
	c, ok := ref.Config.(*ConnectionConfig)
	if !ok {
		return nil, config(ref.Pos.String(), "the connection "+ref.Name+" has no configuration", "")
	}
	s := &session{config: c, env: env, receive: math.MaxUint16, state: state.NewInMemory()}
	at, err := fixed(c.URL, env)
	if err != nil {
		return nil, err
	}
	if s.place, err = parseURL(at); err != nil {
		return nil, config(c.URL.Pos.String(), err.Error(), "")
	}
	if s.user, err = fixed(c.User, env); err != nil {
		return nil, err
	}
	id, err := fixed(c.ClientID, env)
	if err != nil {
		return nil, err
	}
	s.id = cmp.Or(id, "penstock") + "-" + strings.ReplaceAll(env.Name, "/", "-")
	s.at = fmt.Sprintf("connection %s (%s)", ref.Name, s.place.host)
	if w := c.Will; w != nil {
		topic, err := fixed(w.Topic, env)
		if err == nil {
			err = checkTopic(topic)
		}
		if err != nil {
			return nil, config(w.Topic.Pos.String(), err.Error(), "")
		}
		payload, err := fixed(w.Payload, env)
		if err != nil {
			return nil, err
		}
		s.will = &paho.WillMessage{Topic: topic, Payload: []byte(payload), QoS: byte(w.QoS), Retain: w.Retain}
	}
	return s, nil
}

// gathering is what the client writes to: it writes each packet in pieces, and holds the lock meanwhile.
type gathering struct {
	*wire.Conn
	sync.Mutex
}

// line is one connection of a session.
type line struct {
	client  *paho.Client
	wire    *gathering
	answer  *paho.Connack
	down    chan struct{} // closed when it is lost
	once    sync.Once
	because error // why; set before down is closed
}

func (l *line) lost(err error) {
	l.once.Do(func() {
		l.because = err
		close(l.down)
	})
}

// isDown says that the connection is lost.
func (l *line) isDown() bool {
	select {
	case <-l.down:
		return true
	default:
		return false
	}
}

// connect opens a connection. received is given each message, one at a time.
func (s *session) connect(ctx context.Context, received func(*line, *paho.Publish)) (*line, error) {
	wait := s.config.ConnectTimeout.Std()
	if wait <= 0 {
		wait = 10 * time.Second
	}
	dialling, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	raw, err := s.dial(dialling)
	if err != nil {
		return nil, s.refused(ctx, err, nil)
	}
	l := &line{wire: &gathering{Conn: wire.New(&lingering{Conn: raw})}, down: make(chan struct{})}
	// A session of its own for what is acknowledged late: the state of an older connection must not hear of it.
	var known sessions.SessionManager = s.state
	if s.manual {
		known = unacknowledged{s.state}
	}
	l.client = paho.NewClient(paho.ClientConfig{
		ClientID: s.id, Conn: l.wire, Session: known, PacketTimeout: wait,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			if received != nil {
				received(l, p.Packet)
			}
			return true, nil
		}},
		OnClientError:      func(err error) { l.lost(err) },
		OnServerDisconnect: func(d *paho.Disconnect) { l.lost(disconnected(d)) },
	})
	if l.answer, err = l.client.Connect(dialling, s.packet()); err != nil {
		_ = l.wire.Close()
		if s.place.secure {
			err = &early{err}
		}
		return nil, s.refused(ctx, err, l.answer)
	}
	s.fresh = false
	return l, nil
}

// unacknowledged is a session whose client acknowledges nothing by itself when a message has been received: the source does, by State.Ack, when it is settled.
// (The client's own manual acknowledgements are sent at intervals, and what waits for the next one is lost when the connection is closed.)
type unacknowledged struct{ *state.State }

// Ack implements sessions.SessionManager.
func (unacknowledged) Ack(*packets.Publish) error { return nil }

// packet is what is said when a connection is opened.
func (s *session) packet() *paho.Connect {
	seconds := func(d time.Duration) uint32 { return uint32(min(d/time.Second, math.MaxUint32)) }
	expiry := seconds(s.expiry)
	p := &paho.Connect{ClientID: s.id, KeepAlive: uint16(min(s.config.KeepAlive.Std()/time.Second, math.MaxUint16)), CleanStart: s.fresh || s.expiry == 0,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry, ReceiveMaximum: &s.receive, RequestProblemInfo: true}}
	if s.largest > 0 {
		n := uint32(min(s.largest, math.MaxUint32))
		p.Properties.MaximumPacketSize = &n
	}
	if s.user != "" {
		p.UsernameFlag, p.Username = true, s.user
	}
	if !s.config.Password.IsZero() {
		p.PasswordFlag, p.Password = true, []byte(s.config.Password.Reveal())
	}
	if s.will != nil {
		delay := seconds(s.config.Will.Delay.Std())
		p.WillMessage, p.WillProperties = s.will, &paho.WillProperties{WillDelayInterval: &delay}
	}
	return p
}

func (s *session) dial(ctx context.Context) (net.Conn, error) {
	host, _, err := net.SplitHostPort(s.place.host)
	if err != nil {
		return nil, config(s.at, err.Error(), "")
	}
	var secure *tls.Config
	if s.place.secure {
		if secure, err = s.config.TLS.config(host); err != nil {
			return nil, err
		}
	}
	if s.place.web {
		scheme := "ws://"
		if s.place.secure {
			scheme = "wss://"
		}
		d := websocket.Dialer{TLSClientConfig: secure, Subprotocols: []string{"mqtt"}, NetDialContext: (&net.Dialer{}).DialContext}
		c, response, err := d.DialContext(ctx, scheme+s.place.host+s.place.path, http.Header{})
		if response != nil && response.Body != nil {
			_ = response.Body.Close()
		}
		if err != nil {
			return nil, err
		}
		return &web{Conn: c}, nil
	}
	if secure != nil {
		return (&tls.Dialer{Config: secure}).DialContext(ctx, "tcp", s.place.host)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", s.place.host)
}

// close ends a connection, with a word to the broker, which then publishes no will. The session stays, unless it is to end, too.
func (l *line) close(end bool) {
	bye := &paho.Disconnect{ReasonCode: packets.DisconnectNormalDisconnection}
	if end {
		now := uint32(0)
		bye.Properties = &paho.DisconnectProperties{SessionExpiryInterval: &now}
	}
	_ = l.client.Disconnect(bye) // it may be lost already
	_ = l.wire.Close()
}

// web is a WebSocket as a connection: what is written is a message of it, and what is read may be spread over several (MQTT 5, section 6).
type web struct {
	*websocket.Conn
	now io.Reader
}

// Read implements net.Conn.
func (w *web) Read(p []byte) (int, error) {
	for {
		if w.now == nil {
			kind, r, err := w.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, errors.New("the broker sends text over the WebSocket, and MQTT is binary")
			}
			w.now = r
		}
		n, err := w.now.Read(p)
		if errors.Is(err, io.EOF) {
			w.now, err = nil, nil
			if n == 0 {
				continue
			}
		}
		return n, err
	}
}

// Write implements net.Conn.
func (w *web) Write(p []byte) (int, error) {
	if err := w.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// CloseWrite says that nothing more will be written.
func (w *web) CloseWrite() error {
	return w.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(wire.LastWords))
}

// SetWriteDeadline implements net.Conn. The WebSocket's own must not be called while somebody writes.
func (w *web) SetWriteDeadline(t time.Time) error { return w.NetConn().SetWriteDeadline(t) }

// SetDeadline implements net.Conn.
func (w *web) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}
