import "./styles/index.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Stranger } from "turnpike-client";

import { App } from "./App.tsx";
import { deviceToken } from "./device.ts";

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");

const stranger = new Stranger({ url: window.location.origin, ...deviceToken() });
createRoot(root).render(
  <StrictMode>
    <App stranger={stranger} />
  </StrictMode>,
);
