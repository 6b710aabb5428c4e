import { defineConfig } from '@flotilla/service';

export class TrackingConfig extends defineConfig({}) {}
