// Vite's development server in front of `flowgate serve --dev`: the page connects to its own origin, as PhotoFlow's does,
// and Vite hands /socket.io/ on. Vite must say for whom it asks, and flowgate believe it: on one machine both are loopback,
// which needs no trusted_proxies, as all of it is one developer.
export default {
  server: {
    proxy: {
      '/socket.io': {
        target: 'http://127.0.0.1:3000',
        // The upgrade to a WebSocket too.
        ws: true,
        // The page's origin stays as it is: `--dev` admits pages of this machine.
        changeOrigin: false,
      },
    },
  },
};
