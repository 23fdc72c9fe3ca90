import react from "@vitejs/plugin-react";
import { defaultClientConditions } from "vite";
import { defineConfig } from "vitest/config";

const SERVER = "http://localhost:8080";

export default defineConfig({
  plugins: [react()],
  resolve: { conditions: ["turnpike-source", ...defaultClientConditions] },
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false } },
  server: {
    proxy: {
      "/socket.io": { target: SERVER, ws: true },
      "/v1": { target: SERVER },
    },
  },
  test: { environment: "jsdom", include: ["tests/**/*.test.tsx"], setupFiles: "tests/setup.ts" },
});
