package node_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokaworks/toka/actors"
	"github.com/tokaworks/toka/node"
)

// authority signs certificates.
type authority struct {
	t    *testing.T
	dir  string
	file string // its own certificate
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.file, _ = a.sign(a.cert)
	return a
}

// sign writes a certificate and its key to files. The first one signs itself.
func (a *authority) sign(c *x509.Certificate) (certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if a.key == nil {
		a.key = key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, &key.PublicKey, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	write := func(name, kind string, b []byte) string {
		path := filepath.Join(a.dir, c.Subject.CommonName+name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}), 0o600); err != nil {
			a.t.Fatal(err)
		}
		return path
	}
	return write(".pem", "CERTIFICATE", der), write(".key", "PRIVATE KEY", secret)
}

// leaf makes a certificate for a server on loopback, or for a client.
func (a *authority) leaf(name string, use x509.ExtKeyUsage) (certFile, keyFile string) {
	return a.sign(&x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
}

func (a *authority) client(version uint16, pair ...string) *http.Client {
	a.t.Helper()
	text, err := os.ReadFile(a.file)
	if err != nil {
		a.t.Fatal(err)
	}
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12, MaxVersion: version}
	c.RootCAs.AppendCertsFromPEM(text)
	if len(pair) == 2 {
		own, err := tls.LoadX509KeyPair(pair[0], pair[1])
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{own}
	}
	transport := &http.Transport{TLSClientConfig: c}
	a.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 20 * time.Second}
}

// TestTLS holds a node to TLS 1.3 and to the certificates of its own authority:
// one of them is as good as a token, one of another authority is no connection,
// and none is nobody once a token exists.
func TestTLS(t *testing.T) {
	ours, others := newAuthority(t), newAuthority(t)
	cert, key := ours.leaf("node", x509.ExtKeyUsageServerAuth)
	clientCert, clientKey := ours.leaf("worker", x509.ExtKeyUsageClientAuth)
	foreignCert, foreignKey := others.leaf("intruder", x509.ExtKeyUsageClientAuth)
	dir := t.TempDir()
	n := runNode(t, actors.NewRegistry(), dir, "--tls-cert", cert, "--tls-key", key, "--client-ca", ours.file)
	if code, _, errs := commandLine(t, "", "token", "create", "--data", dir, "--name", "some", "--scope", "read"); code != node.ExitDone {
		t.Fatalf("code %d: %s", code, errs)
	}
	get := func(c *http.Client) (int, uint16, error) {
		res, err := c.Get(n.url + "/v1/stats")
		if err != nil {
			return 0, 0, err
		}
		return res.StatusCode, res.TLS.Version, res.Body.Close()
	}
	if status, version, err := get(ours.client(0, clientCert, clientKey)); status != 200 || version != tls.VersionTLS13 || err != nil {
		t.Errorf("with a certificate: %d, TLS %x, %v", status, version, err)
	}
	if status, _, err := get(ours.client(0)); status != 401 || err != nil {
		t.Errorf("without a certificate: %d, %v", status, err)
	}
	// A server certificate does not make a client.
	for what, c := range map[string]*http.Client{
		"TLS 1.2":                   ours.client(tls.VersionTLS12, clientCert, clientKey),
		"another authority's":       ours.client(0, foreignCert, foreignKey),
		"a server's certificate":    ours.client(0, cert, key),
		"a client that trusts them": others.client(0, clientCert, clientKey),
	} {
		if status, _, err := get(c); err == nil {
			t.Errorf("%s: %d", what, status)
		}
	}
	remote := []string{"stats", "--server", n.url, "--server-ca", ours.file}
	if code, _, errs := commandLine(t, "", append(remote, "--client-cert", clientCert, "--client-key", clientKey)...); code != node.ExitDone {
		t.Errorf("code %d: %s", code, errs)
	}
	if code, _, errs := commandLine(t, "", remote...); code != node.ExitRefused || !strings.Contains(errs, "token") {
		t.Errorf("code %d: %s", code, errs)
	}
	if res, err := http.Get(strings.Replace(n.url, "https", "http", 1) + "/v1/stats"); err == nil {
		if res.StatusCode < 400 {
			t.Errorf("in the clear: %d", res.StatusCode)
		}
		_ = res.Body.Close()
	}
}

// TestTokensAreInBackups: who restores a backup need not make the tokens anew.
func TestTokensAreInBackups(t *testing.T) {
	dir, kept, again := t.TempDir(), filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "restored")
	n := runNode(t, actors.NewRegistry(), dir)
	code, text, errs := commandLine(t, "", "token", "create", "--data", dir, "--name", "some", "--scope", "read")
	if code != node.ExitDone {
		t.Fatalf("code %d: %s", code, errs)
	}
	for _, args := range [][]string{{"backup", kept, "--data", dir}, {"backup", "verify", kept}, {"restore", "--from", kept, "--data", again}} {
		if code, _, errs := commandLine(t, "", args...); code != node.ExitDone {
			t.Fatalf("%v: code %d: %s", args, code, errs)
		}
	}
	n.stop()
	info, err := os.Stat(filepath.Join(again, "TOKENS"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	n = runNode(t, actors.NewRegistry(), again)
	for token, want := range map[string]int{strings.TrimSpace(text): 200, "": 401} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", n.url+"/v1/stats", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if res.StatusCode != want {
			t.Errorf("%.12q: %d, want %d", token, res.StatusCode, want)
		}
		_ = res.Body.Close()
	}
	if err := os.WriteFile(filepath.Join(kept, "TOKENS"), []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := commandLine(t, "", "backup", "verify", kept); code != node.ExitDamage || !strings.Contains(errs, "TOKENS") {
		t.Errorf("code %d: %s", code, errs)
	}
}
