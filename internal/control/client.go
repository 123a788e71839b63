package control

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
)

// ErrNotRunning says that no agent answers.
var ErrNotRunning = errors.New("no agent is running")

// Client asks the agent that listens on a socket.
type Client struct {
	path string
	by   string
	http *http.Client
}

// NewClient makes a client of a socket. by is in whose name states are set.
func NewClient(path, by string) *Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, by: by, http: &http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// Close lets go of the connection.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status asks how the agent is.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/v1/status", nil, &s)
}

// Rules asks for all rules.
func (c *Client) Rules(ctx context.Context) (all []Rule, err error) {
	return all, c.do(ctx, http.MethodGet, "/v1/rules", nil, &all)
}

// Rule asks for one. Its error is ErrNoRule if there is none of that id.
func (c *Client) Rule(ctx context.Context, id string) (r RuleDetail, err error) {
	return r, c.do(ctx, http.MethodGet, "/v1/rules/"+url.PathEscape(id), nil, &r)
}

// Why asks why a rule detects nothing. Its error is ErrNoRule if there is none of that id.
func (c *Client) Why(ctx context.Context, id string) (w Why, err error) {
	return w, c.do(ctx, http.MethodGet, "/v1/rules/"+url.PathEscape(id)+"/why", nil, &w)
}

// States asks for the states in force, by rule.
func (c *Client) States(ctx context.Context) (all map[string]State, err error) {
	return all, c.do(ctx, http.MethodGet, "/v1/states", nil, &all)
}

// Doctor asks what the host offers the agent.
func (c *Client) Doctor(ctx context.Context) (d Doctor, err error) {
	return d, c.do(ctx, http.MethodGet, "/v1/doctor", nil, &d)
}

// SetState gives a rule a state, and returns when it counts.
func (c *Client) SetState(ctx context.Context, id string, wanted State) (s State, err error) {
	return s, c.do(ctx, http.MethodPut, "/v1/states/"+url.PathEscape(id), wanted, &s)
}

// ClearState gives a rule the default state.
func (c *Client) ClearState(ctx context.Context, id string) (s State, err error) {
	return s, c.do(ctx, http.MethodDelete, "/v1/states/"+url.PathEscape(id), nil, &s)
}

// Settings asks for the configuration that is in force.
func (c *Client) Settings(ctx context.Context) (all map[string]Setting, err error) {
	return all, c.do(ctx, http.MethodGet, "/v1/config", nil, &all)
}

// do asks, and decodes the answer into got.
func (c *Client) do(ctx context.Context, method, path string, body, got any) error {
	answer, err := c.send(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if err := json.NewDecoder(answer.Body).Decode(got); err != nil {
		return fmt.Errorf("reading the agent's answer: %w", err)
	}
	return nil
}

func (c *Client) send(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		sent = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://agent"+path, sent)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Bittern-By", c.by)
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, c.explain(err)
	}
	if answer.StatusCode == http.StatusOK {
		return answer, nil
	}
	defer answer.Body.Close()
	var f failure
	if err := json.NewDecoder(answer.Body).Decode(&f); err != nil || f.Error == "" {
		return nil, fmt.Errorf("the agent answered %s", answer.Status)
	}
	for _, known := range []error{ErrNoRule, ErrStarting} {
		if f.Error == known.Error() {
			return nil, known
		}
	}
	return nil, errors.New(f.Error)
}

// explain says why nobody answers.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody answers on %s", ErrNotRunning, c.path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("asking the agent: %s is for root and the agent's own user (run as root)", c.path)
	}
	return fmt.Errorf("asking the agent: %w", err)
}

// Sent is what comes by a stream.
type Sent struct {
	Name string // detection, gap, lost, or the topic of a change
	Data []byte // JSON
}

// Events streams detections and gap records to f until ctx is done, the agent ends or f fails. query is that
// of openapi.yaml.
func (c *Client) Events(ctx context.Context, query url.Values, listening func(), f func(Sent) error) error {
	return c.stream(ctx, "/v1/events?"+query.Encode(), listening, f)
}

// ChangesOf streams what becomes of changes of rules. query: topic, recent, follow.
func (c *Client) ChangesOf(ctx context.Context, query url.Values, listening func(), f func(Sent) error) error {
	return c.stream(ctx, "/v1/changes?"+query.Encode(), listening, f)
}

// stream calls listening, if it is not nil, as soon as nothing is missed any more.
func (c *Client) stream(ctx context.Context, path string, listening func(), f func(Sent) error) error {
	answer, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	in := bufio.NewReader(answer.Body)
	var now Sent
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				return ctx.Err()
			}
			return fmt.Errorf("reading the stream: %w", err)
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case line == ":":
			if listening != nil {
				listening()
				listening = nil
			}
		case strings.HasPrefix(line, "event: "):
			now.Name = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			now.Data = []byte(strings.TrimPrefix(line, "data: "))
		case line == "" && now.Name != "":
			if err := f(now); err != nil {
				return err
			}
			now = Sent{}
		}
	}
}
