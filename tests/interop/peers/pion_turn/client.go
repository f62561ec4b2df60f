package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"
	"github.com/pion/turn/v5"
)

type dtlsPacketConn struct{ net.Conn } // datagram-preserving net.Conn as net.PacketConn

func (c *dtlsPacketConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)

	return n, c.RemoteAddr(), err
}
func (c *dtlsPacketConn) WriteTo(p []byte, _ net.Addr) (int, error) { return c.Write(p) }

// connect returns the PacketConn to the server for udp/tcp/tls/dtls; without pool nothing is verified.
func connect(transport, server string, pool *x509.CertPool, sni string) (net.PacketConn, error) {
	insecure := pool == nil
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return nil, err
	}
	if sni != "" {
		host = sni
	}
	bind := "0.0.0.0:0"
	if strings.HasPrefix(server, "[") {
		bind = "[::]:0"
	}
	if strings.HasPrefix(server, "127.") {
		bind = "127.0.0.1:0"
	}
	switch transport {
	case "udp":
		return net.ListenPacket("udp", bind)
	case "tcp":
		c, derr := net.Dial("tcp", server)
		if derr != nil {
			return nil, derr
		}

		return turn.NewSTUNConn(c), nil
	case "tls":
		c, derr := tls.Dial("tcp", server, &tls.Config{InsecureSkipVerify: insecure, ServerName: host, RootCAs: pool}) //nolint:gosec
		if derr != nil {
			return nil, derr
		}

		return turn.NewSTUNConn(c), nil
	case "dtls":
		a, rerr := net.ResolveUDPAddr("udp", server)
		if rerr != nil {
			return nil, rerr
		}
		pc, lerr := net.ListenPacket("udp", bind)
		if lerr != nil {
			return nil, lerr
		}
		c, derr := dtls.ClientWithOptions(pc, a, dtls.WithInsecureSkipVerify(insecure), dtls.WithServerName(host), dtls.WithRootCAs(pool))
		if derr != nil {
			return nil, derr
		}
		if herr := c.Handshake(); herr != nil {
			return nil, herr
		}

		return &dtlsPacketConn{c}, nil
	}

	return nil, fmt.Errorf("unknown transport %q", transport)
}

func udpEcho(ip string) (net.PacketConn, error) {
	pc, err := net.ListenPacket("udp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return nil, err
	}
	go func() {
		b := make([]byte, 65536)
		for {
			n, a, rerr := pc.ReadFrom(b)
			if rerr != nil {
				return
			}
			_, _ = pc.WriteTo(b[:n], a)
		}
	}()

	return pc, nil
}

func tcpEcho(ip string) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			c, aerr := l.Accept()
			if aerr != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
		}
	}()

	return l, nil
}

func runClient(args []string) { //nolint
	fs := flag.NewFlagSet("client", flag.ExitOnError)
	transport := fs.String("transport", "udp", "udp|tcp|tls|dtls: to the server")
	server := fs.String("server", "127.0.0.1:3478", "server host:port")
	user := fs.String("user", "user", "user name")
	pass := fs.String("pass", "pass", "password")
	realm := fs.String("realm", "", "realm (usually learnt)")
	alloc := fs.String("alloc", "udp", "udp (RFC 8656) or tcp (RFC 6062) allocation")
	peerIP := fs.String("peer-ip", "127.0.0.1", "address of the built-in echo peer")
	peer := fs.String("peer", "", "host:port of an external echo peer (default: built in)")
	n := fs.Int("n", 20, "datagrams to echo (or writes, with -alloc tcp)")
	size := fs.Int("size", 200, "payload bytes")
	ca := fs.String("ca", "", "verify the server's certificate by the authorities in this PEM file")
	sni := fs.String("sni", "", "server name")
	wait := fs.Duration("wait", 0, "keep the allocation that long after the echo, then echo again (refresh test)")
	family := fs.Int("family", 0, "4 or 6: requested address family")
	binding := fs.Bool("binding", false, "send a Binding request and nothing else")
	_ = fs.Parse(args)
	var pool *x509.CertPool
	if *ca != "" {
		pem, rerr := os.ReadFile(*ca)
		if rerr != nil {
			fatal(rerr)
		}
		if pool = x509.NewCertPool(); !pool.AppendCertsFromPEM(pem) {
			fatal(errors.New("no certificate in " + *ca))
		}
	}

	lf := logging.NewDefaultLoggerFactory()
	lf.Writer = os.Stderr
	pc, err := connect(*transport, *server, pool, *sni)
	if err != nil {
		fatal(err)
	}
	cfg := &turn.ClientConfig{
		STUNServerAddr: *server, TURNServerAddr: *server, Conn: pc, Username: *user, Password: *pass, Realm: *realm,
		Software: "pion_turn peer", LoggerFactory: lf,
	}
	switch *family {
	case 4:
		cfg.RequestedAddressFamily = turn.RequestedAddressFamilyIPv4
	case 6:
		cfg.RequestedAddressFamily = turn.RequestedAddressFamilyIPv6
	}
	c, err := turn.NewClient(cfg)
	if err != nil {
		fatal(err)
	}
	defer c.Close()
	if err = c.Listen(); err != nil {
		fatal(err)
	}
	if *binding {
		m, berr := c.SendBindingRequest()
		if berr != nil {
			fatal(berr)
		}
		emit(obj{"event": "binding", "mapped": m.String(), "client": pc.LocalAddr().String()})
		emit(obj{"event": "result", "ok": true})

		return
	}
	if *alloc == "tcp" {
		clientTCP(c, *peer, *peerIP, *n, *size)

		return
	}
	relay, err := c.Allocate()
	if err != nil {
		fatal(err)
	}
	emit(obj{"event": "allocated", "relayed": relay.LocalAddr().String(), "client": pc.LocalAddr().String()})
	peerAddr := *peer
	if peerAddr == "" {
		e, eerr := udpEcho(*peerIP)
		if eerr != nil {
			fatal(eerr)
		}
		defer e.Close() //nolint:errcheck
		peerAddr = e.LocalAddr().String()
	}
	dst, err := net.ResolveUDPAddr("udp", peerAddr)
	if err != nil {
		fatal(err)
	}
	round := func(tag string) error {
		payload := bytes.Repeat([]byte{'x'}, *size)
		buf := make([]byte, 65536)
		ok, t0 := 0, time.Now()
		for i := 0; i < *n; i++ {
			if len(payload) >= 4 {
				copy(payload, fmt.Sprintf("%04d", i))
			}
			if _, werr := relay.WriteTo(payload, dst); werr != nil {
				return werr
			}
			_ = relay.SetReadDeadline(time.Now().Add(2 * time.Second))
			k, from, rerr := relay.ReadFrom(buf)
			if rerr != nil {
				continue
			}
			if from.String() != dst.String() || !bytes.Equal(buf[:k], payload) {
				return fmt.Errorf("echo %d differs (from %s, %d bytes)", i, from, k)
			}
			ok++
		}
		emit(obj{"event": "echo", "tag": tag, "sent": *n, "received": ok, "ms": float64(time.Since(t0).Microseconds()) / 1000})
		if ok != *n {
			return errors.New("lost echoes")
		}

		return nil
	}
	if err = round("first"); err != nil {
		fatal(err)
	}
	if *wait > 0 {
		time.Sleep(*wait)
		if err = round("after-wait"); err != nil {
			fatal(err)
		}
	}
	if err = relay.Close(); err != nil {
		fatal(err)
	}
	emit(obj{"event": "result", "ok": true})
}

func clientTCP(c *turn.Client, peer, peerIP string, n, size int) {
	a, err := c.AllocateTCP()
	if err != nil {
		fatal(err)
	}
	emit(obj{"event": "allocated", "relayed": a.Addr().String()})
	if peer == "" {
		l, lerr := tcpEcho(peerIP)
		if lerr != nil {
			fatal(lerr)
		}
		defer l.Close() //nolint:errcheck
		peer = l.Addr().String()
	}
	conn, err := a.Dial("tcp", peer)
	if err != nil {
		fatal(err)
	}
	payload, buf := bytes.Repeat([]byte{'y'}, size), make([]byte, size)
	for i := 0; i < n; i++ {
		if _, err = conn.Write(payload); err != nil {
			fatal(err)
		}
		if _, err = io.ReadFull(conn, buf); err != nil || !bytes.Equal(buf, payload) {
			fatal(fmt.Errorf("tcp echo %d: %v", i, err)) //nolint
		}
	}
	emit(obj{"event": "echo", "tag": "tcp", "sent": n, "received": n})
	// the other direction: a peer connects to the relayed address
	acc := make(chan error, 1)
	go func() {
		in, aerr := a.Accept()
		if aerr == nil {
			_, aerr = io.ReadFull(in, make([]byte, 5))
		}
		acc <- aerr
	}()
	time.Sleep(50 * time.Millisecond)
	if out, derr := net.Dial("tcp", a.Addr().String()); derr == nil {
		_, _ = out.Write([]byte("hello"))
		select {
		case err = <-acc:
		case <-time.After(3 * time.Second):
			err = errors.New("no incoming connection")
		}
		_ = out.Close()
	} else {
		err = derr
	}
	emit(obj{"event": "accept", "ok": err == nil, "error": fmt.Sprint(err)})
	_ = conn.Close()
	_ = a.Close()
	emit(obj{"event": "result", "ok": err == nil})
	if err != nil {
		os.Exit(1)
	}
}
