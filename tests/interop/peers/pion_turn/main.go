// TURN interop program on top of pion/turn: `pion_turn server ...` and `pion_turn client ...`.
// JSON lines on stdout, logs on stderr; `-h` lists the flags. See ../README.md ("pion_turn").
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

type obj map[string]any

var (
	outMu sync.Mutex
	out   = bufio.NewWriter(os.Stdout)
)

func emit(o obj) {
	b, _ := json.Marshal(o)
	outMu.Lock()
	defer outMu.Unlock()
	_, _ = out.Write(append(b, '\n'))
	_ = out.Flush()
}

func fatal(err error) {
	emit(obj{"event": "error", "message": err.Error(), "fatal": true})
	os.Exit(1)
}

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: pion_turn server|client [flags]   (-h for the flags)")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "server":
		runServer(os.Args[2:])
	case "client":
		runClient(os.Args[2:])
	default:
		fmt.Fprintln(os.Stderr, "unknown mode", os.Args[1])
		os.Exit(2)
	}
}
