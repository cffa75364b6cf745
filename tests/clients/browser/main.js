// The documented client code in a page. The fragment says who the page is and how it connects:
// #token=…&name=…&transports=polling,websocket
import { io } from 'socket.io-client';

const fragment = new URLSearchParams(location.hash.slice(1));
const state = document.querySelector('#state');
const changes = document.querySelector('#changes');

const socket = io(import.meta.env.VITE_SOCKET_URL, {
  auth: { token: fragment.get('token') },
  transports: fragment.get('transports').split(','),
});

socket.on('connect', () => (state.value = 'connected'));
socket.on('connect_error', (error) => (state.value = `refused: ${error.message}`));
socket.on('disconnect', (reason) => (state.value = `disconnected: ${reason}`));

socket.on('database-changed', (change) => {
  const line = document.createElement('li');
  line.textContent = JSON.stringify(change);
  changes.append(line);
});

document.querySelector('#change').addEventListener('click', () => {
  socket.emit('database-change', {
    type: 'task-created',
    title: `by ${fragment.get('name')}`,
    timestamp: new Date().toISOString(),
  });
});
