package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/tokaworks/toka/node/internal/server"
)

// remote names a node on the network.
type remote struct {
	server, token, ca, cert, key string

	config string // the file of settings
}

// remoteFlags are flags of the client that are not sent.
var remoteFlags = map[string]string{
	configFlag:    "file with settings, in YAML; see toka-node config (TOKA_CONFIG)",
	"server":      "ask the node at this URL rather than open a journal (TOKA_SERVER)",
	"token":       "token for --server (TOKA_TOKEN; on a command line others can see it)",
	"server-ca":   "file with the authority that signed the node's certificate (TOKA_SERVER_CA)",
	"client-cert": "file with this client's certificate (TOKA_CLIENT_CERT)",
	"client-key":  "file with the key of --client-cert (TOKA_CLIENT_KEY)",
}

func (r *remote) flags(f *pflag.FlagSet) {
	for name, where := range map[string]*string{
		"server": &r.server, "token": &r.token, "server-ca": &r.ca, "client-cert": &r.cert, "client-key": &r.key, configFlag: &r.config,
	} {
		f.StringVar(where, name, "", remoteFlags[name])
	}
}

// envName is the variable that stands for a flag.
func envName(flag string) string {
	return "TOKA_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// client asks a node.
type client struct {
	http.Client
	base  string
	token string
	first chan net.Conn // holds the first connection until it is used
}

func (c *client) close() {
	select {
	case conn := <-c.first:
		_ = conn.Close()
	default:
	}
	c.CloseIdleConnections()
}

// dialSocket returns a client of the node at a socket, once that has answered.
func dialSocket(ctx context.Context, path string) (*client, error) {
	addr, release, err := socketAddr(path)
	if err != nil {
		return nil, err
	}
	defer release()
	first, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "unix", addr)
	if err != nil {
		return nil, err
	}
	c := &client{base: "http://localhost", first: make(chan net.Conn, 1)}
	c.first <- first
	c.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		select {
		case conn := <-c.first:
			return conn, nil
		default:
		}
		addr, release, err := socketAddr(path)
		if err != nil {
			return nil, err
		}
		defer release()
		return (&net.Dialer{}).DialContext(ctx, "unix", addr)
	}}
	return c, nil
}

// maxSocket is how long the path of a socket may be; 104 on some systems.
const maxSocket = 103

// socketAddr returns a path for the socket that is short enough. Linux knows
// every open directory by a short name, which is good until release.
func socketAddr(path string) (addr string, release func(), err error) {
	if len(path) <= maxSocket {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path of the socket %s is longer than %d bytes; give --data a shorter path", path, maxSocket)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return "", nil, err
	}
	name := "/proc/self/fd/" + strconv.Itoa(int(dir.Fd())) + "/" + filepath.Base(path)
	return name, func() { _ = dir.Close() }, nil
}

// client returns a client of the node that the flags name.
func (r *remote) client() (*client, error) {
	u, err := url.Parse(r.server)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, usage("--server %q: give a URL, such as http://127.0.0.1:7171", r.server)
	}
	c := &client{base: strings.TrimSuffix(r.server, "/"), token: r.token}
	config := &tls.Config{MinVersion: tls.VersionTLS13}
	if r.ca != "" {
		if config.RootCAs, err = authority(r.ca); err != nil {
			return nil, err
		}
	}
	if r.cert != "" {
		pair, err := tls.LoadX509KeyPair(r.cert, r.key)
		if err != nil {
			return nil, usage("--client-cert: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	c.Transport = &http.Transport{TLSClientConfig: config, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext}
	return c, nil
}

// request makes a request to the node and returns the answer if it is good.
func (c *client) request(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	res, err := c.Do(req)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer func() { _ = res.Body.Close() }()
	var p server.Problem
	text, _ := io.ReadAll(io.LimitReader(res.Body, 64<<10)) // what there is of it is enough
	if json.Unmarshal(text, &p) != nil || p.Detail == "" {
		p = server.Problem{Status: res.StatusCode, Detail: "it answered " + res.Status}
	}
	return nil, &p
}

// run has the node run a command line.
func (c *client) run(ctx context.Context, body io.Reader, s Streams) (int, error) {
	// The body is read on while the answer comes; a terminal's read never ends,
	// and the process does.
	res, err := c.request(ctx, http.MethodPost, server.CommandPath, io.NopCloser(body), nil)
	if p, ok := errors.AsType[*server.Problem](err); ok {
		return 0, &exit{ExitRefused, fmt.Errorf("the node refuses: %s", printable(p.Detail))}
	}
	if err != nil {
		return 0, fmt.Errorf("ask the node at %s: %w", c.base, err)
	}
	defer func() { _ = res.Body.Close() }()
	return server.ReadFrames(res.Body, s.Out, s.Err)
}

// authority reads certificates that others are checked against.
func authority(file string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, usage("authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, usage("authority %s: it holds no certificate", file)
	}
	return pool, nil
}
