package control

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os/user"
	"strconv"
	"time"

	"bittern/internal/rules"
)

// What an agent answers in the place of what was asked for.
var (
	ErrNoRule   = errors.New("there is no such rule")
	ErrStarting = errors.New("the agent is still starting")
)

// OpenAPI describes the interface, in YAML.
//
//go:embed openapi.yaml
var OpenAPI []byte

// bodyLimit is how much a request may say, in bytes.
const bodyLimit = 64 << 10

// Server answers commands.
type Server struct {
	agent   Agent
	log     *slog.Logger
	Records *Hub[Record]
	Changes *Hub[Change]

	http  *http.Server
	ended chan error
}

// New makes a server of which nothing can be asked yet, but to which one can publish.
func New(agent Agent, log *slog.Logger) *Server {
	return &Server{agent: agent, log: log, Records: NewHub[Record](recentLimit), Changes: NewHub[Change](recentLimit)}
}

// Serve begins to answer on a listener, which Close closes.
func (s *Server) Serve(l net.Listener) {
	s.ended = make(chan error, 1)
	s.http = &http.Server{
		Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, peerKey{}, c) },
	}
	go func() { s.ended <- s.http.Serve(l) }()
}

type peerKey struct{}

// Close ends all streams, and the server if it serves.
func (s *Server) Close() error {
	s.Records.Close()
	s.Changes.Close()
	if s.http == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err := s.http.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.http.Close()
	}
	if ended := <-s.ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for route, handle := range s.routes() {
		mux.HandleFunc(route, handle)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusNotFound, fmt.Errorf("there is nothing at %s %s", r.Method, r.URL.Path))
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The socket's mode keeps others out already, unless somebody changes it.
		if peer, ok := peerIn(r); !ok || !peer.may() {
			refuse(w, http.StatusForbidden, errors.New("only root and the agent's own user are answered (run as root)"))
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func peerIn(r *http.Request) (Peer, bool) {
	c, ok := r.Context().Value(peerKey{}).(*conn)
	if !ok {
		return Peer{}, false
	}
	return c.peer, true
}

// routes are all that can be asked; openapi.yaml describes them.
func (s *Server) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /v1/openapi.yaml": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/yaml")
			_, _ = w.Write(OpenAPI) // who asked is gone
		},
		"GET /v1/status":         get(func(r *http.Request) (Status, error) { return s.agent.Status(r.Context()) }),
		"GET /v1/rules":          get(func(r *http.Request) ([]Rule, error) { return s.agent.Rules(r.Context()) }),
		"GET /v1/rules/{id}":     get(func(r *http.Request) (RuleDetail, error) { return s.agent.Rule(r.Context(), r.PathValue("id")) }),
		"GET /v1/rules/{id}/why": get(func(r *http.Request) (Why, error) { return s.agent.Why(r.Context(), r.PathValue("id")) }),
		"GET /v1/states":         get(func(r *http.Request) (map[string]State, error) { return s.states(r.Context()) }),
		"PUT /v1/states/{id}":    s.setState,
		"DELETE /v1/states/{id}": s.clearState,
		"GET /v1/doctor":         get(func(r *http.Request) (Doctor, error) { return s.agent.Doctor(r.Context()) }),
		"GET /v1/config":         get(func(*http.Request) (map[string]Setting, error) { return s.agent.Settings(), nil }),
		"GET /v1/events":         s.streamRecords,
		"GET /v1/changes":        s.streamChanges,
	}
}

// get answers with what is asked for.
func get[T any](ask func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if v, err := ask(r); err != nil {
			refuse(w, codeOf(err), err)
		} else {
			send(w, http.StatusOK, v)
		}
	}
}

func codeOf(err error) int {
	switch {
	case errors.Is(err, ErrNoRule):
		return http.StatusNotFound
	case errors.Is(err, ErrStarting):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

func (s *Server) states(ctx context.Context) (map[string]State, error) {
	in, err := s.agent.States(ctx)
	out := make(map[string]State, len(in))
	for id, state := range in {
		out[id] = StateOf(state)
	}
	return out, err
}

func send(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v) // who asked is gone
}

// failure is what an error looks like.
type failure struct {
	Error string `json:"error"`
}

func refuse(w http.ResponseWriter, code int, err error) { send(w, code, failure{err.Error()}) }

func (s *Server) setState(w http.ResponseWriter, r *http.Request) {
	var wanted State
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, bodyLimit))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&wanted)
	if err == nil {
		_, err = decoder.Token()
		if errors.Is(err, io.EOF) {
			err = nil
		} else if err == nil {
			err = errors.New("more follows the state")
		}
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("reading the state: %w", err))
		return
	}
	state, err := wanted.parse()
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	s.setTo(w, r, state)
}

func (s *Server) clearState(w http.ResponseWriter, r *http.Request) {
	s.setTo(w, r, rules.RuleState{})
}

func (s *Server) setTo(w http.ResponseWriter, r *http.Request, state rules.RuleState) {
	id := r.PathValue("id")
	if err := errors.Join(rules.CheckID(id), state.Validate()); err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	by := s.by(r)
	s.log.Info("asked to set a state", "rule_id", id, "state", state.State.String(), "by", by)
	is, err := s.agent.SetState(r.Context(), id, state, by)
	if err != nil {
		refuse(w, codeOf(err), err)
		return
	}
	send(w, http.StatusOK, StateOf(is))
}

// by names who asks: root may do so in another's name, for example behind sudo.
func (s *Server) by(r *http.Request) string {
	peer, _ := peerIn(r)
	name := strconv.FormatUint(uint64(peer.UID), 10)
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	if claimed := r.Header.Get("Bittern-By"); claimed != "" && claimed != name {
		return claimed + " as " + name
	}
	return name
}
